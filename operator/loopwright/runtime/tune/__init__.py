"""What runs in the head pod of a HyperparameterSweep, and in its trials' pods.

Ray Tune places trials and asks what to do with them: `search` proposes, by Optuna, and `schedulers`
stops. What is known of each trial is in `study`, and in storage (`journal`), from where a lost
driver's successor goes on.
"""

"""What people see of a cluster: read with their own rights, and explained by rules.

The command line tool and the console show the same; this says what, they say how.
"""

"""What to do about each reason of a condition or a failure.

What the operator's message says already is not repeated: `SEE` stands for "do what it says".
"""

from __future__ import annotations

from typing import Final

SEE: Final = "do what the message says"
WAIT: Final = "wait; it goes on by itself"
NEW_JOB: Final = "correct it in a new job; a job's spec does not change"

REASONS: Final[dict[str, str]] = {
    # Why no attempt starts.
    "ConfigMapNotFound": "create the ConfigMap that the message names",
    "SecretNotFound": "create the Secret that the message names",
    "PersistentVolumeClaimNotFound": "create the claim that the message names",
    "LocalQueueNotFound": "create the LocalQueue, or name another in scheduling.queue of a new job",
    "PriorityClassNotFound": "create the PriorityClass, or name another in a new job",
    "DependencyMissing": "install what is missing; `loopwright doctor` says how",
    "NameTaken": "delete the object that the message names, or choose another name",
    "RayJobEnding": "wait; if it lasts, look for finalizers on the old RayJob",
    "Forbidden": "have the quota, policy or role changed that the message names",
    "Invalid": SEE,
    "InvalidSpec": "correct the field that the message names in a new object",
    "OutputMissing": "set output.uri in a new job, or LOOPWRIGHT_DEFAULT_OUTPUT of the operator",
    "SweepNotFound": "create the sweep, or leave it out of warmStart.sweeps",
    "SweepUnfinished": "wait until the sweep that the message names has ended",
    # Why a model cannot be used.
    "ModelNotFound": "create the Model, or name another; where a server says so, look at the URI",
    "ModelVersionNotFound": "create the ModelVersion, or name another",
    "TrainingJobNotFound": "create the TrainingJob, or name another",
    "HyperparameterSweepNotFound": "create the sweep, or name another",
    "AliasNotFound": "set the alias in spec.aliases of the Model",
    "ModelNotApproved": "have somebody with the right to approve set spec.approval of the version",
    "ModelRejected": "name another version: people have rejected this one",
    "TrainingJobUnfinished": "wait until the job has ended",
    "HyperparameterSweepUnfinished": "wait until the sweep has ended",
    "TrainingJobFailed": "name another job; loopwright explain says why it failed",
    "HyperparameterSweepFailed": "name another sweep; loopwright explain says why it failed",
    "ModelNotRegistered": "see what register or promote asks for; the message says what it missed",
    "FormatUnsupported": "export the model as onnx, or name what runs its format",
    "NoDigest": "name a ModelVersion with a digest, or train with this version of Loopwright",
    "NoModel": "call train.save_model in the code, and train again",
    "UnsafeFormat": "export the model as onnx, or set allowUnsafe if you trust who wrote it",
    "ReportInvalid": "correct what the code writes as the message says",
    # Why an endpoint cannot be asked.
    "EndpointNotFound": "create the ModelEndpoint, or name another in a new job",
    "EndpointNotReady": "wait; `loopwright explain` of the endpoint says what it waits for",
    "VariantNotFound": "add the variant to the endpoint, or name another in a new job",
    "NoAddress": "see to the endpoint's Gateway, or set endpointRef.variant of a new job",
    # Why an endpoint does not serve.
    "NoGateway": "set routing.gatewayRef, or LOOPWRIGHT_GATEWAY of the operator",
    "GatewayNotFound": "create the Gateway, or name another in routing.gatewayRef",
    "GatewayUnable": "set routing.hostnames, and no routing.path",
    "RouteConflict": "give one of the endpoints another host or path",
    "NotAccepted": "change allowedRoutes of the Gateway's listener, or as the message says",
    "ChecksFailing": "see the checks in `loopwright status`; the rollout rolls back if they go on",
    "RollingOut": WAIT,
    "RolledBack": "correct the model or the spec; the message says what was measured",
    "WaitingForKServe": "see whether KServe's controller runs: `loopwright doctor`",
    "PrometheusMissing": "set LOOPWRIGHT_PROMETHEUS_URL of the operator",
    "CredentialsUnsupported": SEE,
    "NameTooLong": "use a namespace with a shorter name",
    "NotReady": WAIT,
    "Creating": WAIT,
    "Suspended": "set suspend to false when it shall go on",
    "ImagePullFailed": "correct the image's name, or give credentials in pod.imagePullSecrets",
    "ContainerConfig": "create the Secret or ConfigMap that the message names",
    "Unschedulable": "make room on the nodes, or ask for less",
    "OutOfMemory": "raise the memory in resources",
    "PodsRefused": "have the quota or policy changed that the message names",
    "ServerFailed": "read the server's log: loopwright logs",
    "DigestMismatch": "the files are not those that were registered: restore, or register anew",
    "ModelInvalid": "save the model anew; the message says what is wrong with it",
    "ArchitectureUnknown": "serve with an image that has the network's code",
    "SchemeUnknown": "use s3:// or pvc://",
    # Why an attempt ended.
    "TrainingFailed": "correct the code; its log is in `loopwright logs`",
    "Killed": "raise resourcesPerWorker.memory, or make batches smaller, in a new job",
    "WorkerLost": "wait for the retry; if it repeats, look at the node and at memory",
    "WorkersMissing": "see why worker pods did not come up; the cluster may be too small",
    "HeadLost": "look at the head's node, or raise head.resources.memory in a new job",
    "Interrupted": WAIT,
    "RayJobDeleted": "leave RayJobs to the operator; it makes them anew",
    "RayJobReplaced": "leave RayJobs to the operator; it makes them anew",
    "RayJobFailed": "see KubeRay's log, and whether the image is built on Loopwright's runtime",
    "RayJobInvalid": NEW_JOB,
    "MaxRuntimeExceeded": "allow more in runPolicy.maxRuntimeSeconds of a new job",
    "SpecChanged": WAIT,
    "BudgetExceeded": "raise budget where it may change, or in a new job",
    "MaxPendingExceeded": "make room in the cluster, or allow more in runPolicy.maxPendingSeconds",
    "ScriptMissing": "correct script.path in a new job; the message lists the files there are",
    "CheckpointMissing": "name another checkpoint in checkpoint.resumeFrom of a new job",
    "CheckpointDamaged": "name another checkpoint in checkpoint.resumeFrom of a new job",
    "StorageFailed": "see whether the storage answers",
    "StorageRefused": "give credentials that may read and write there",
    "StorageNotFound": "create the bucket or path, or correct the URI",
    "NoSpace": "free space, or use a larger volume",
    "InputMissing": "correct the input's URI; nothing is there",
    "InputInvalid": "correct the URI or rename the file; no path may lead out of its folder",
    "ArchiveInvalid": "make the archive anew; the message says what is wrong",
    "DataInvalid": "correct the data or the checks; the quality report shows rows that failed",
    "NoBaseline": "compare with a model that was saved with baseline, or leave out baselineRef",
    "BaselineInvalid": "save the model of baselineRef anew, or compare with another",
    "ValidationInvalid": "correct the pattern of the check in a new job",
    "InputEmpty": "correct the input's URI or pattern: there are no records",
    "FileDamaged": "replace the file that the message names, or set the right format",
    "SchemaMismatch": "give the columns that the model needs; the message names them",
    "FilterInvalid": "correct the JSONPath in dataProcessing of a new job",
    "TooManyFailedRecords": "see the dead-letter file, or allow more in errors of a new job",
    "OutputExists": "choose another output.uri, or set output.overwrite, in a new job",
    "OutputDamaged": "delete the folder that the message names, and start a new job",
    "InputChanged": "wait until nobody writes the input, and start a new job",
    "PredictorFailed": "correct predictor.class as the message says",
    "EndpointUnavailable": "wait for the retry; if it repeats, look at the endpoint and its pods",
    "EndpointRefused": "see what answers there; it must speak the Open Inference Protocol (v2)",
    "ReportRefused": "remove the policy or ConfigMap that the message names",
    "TooManyFailures": "read the trials' logs below output.uri; then start a new sweep",
    "NoTrialSucceeded": "have the code report what objectives name; then start a new sweep",
    "WarmStartMissing": "leave the sweep out of warmStart.sweeps of a new one",
    "LocalPathShared": "leave out checkpoint.localPath in the trials of a new sweep",
    "NoReport": "have the code report metrics, or raise metrics.timeoutSeconds",
    "RuntimeFailed": "see the message; report it if it looks like a bug",
}  # fmt: skip

# What the scheduler says of nodes, and what to do about it; the first that fits counts.
UNSCHEDULABLE: Final[tuple[tuple[str, str], ...]] = (
    (r"Insufficient ([\w.-]+/[\w-]+)", "add nodes with {0}, ask for fewer, or wait"),
    (r"Insufficient (cpu|memory|ephemeral-storage)", "add nodes, or ask for less {0}"),
    (r"Too many pods", "add nodes, or wait until pods have ended"),
    (r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim \"(\S+)\" not found",
     "see why the claim is not bound: its StorageClass, or its size"),
    (r"volume node affinity conflict", "the claim's volume is in another zone than the nodes"),
    (r"untolerated taint \{([^}]*)\}", "add pod.tolerations for the taint {0}, or other nodes"),
    (r"node affinity/selector", "correct pod.nodeSelector or pod.affinity, or label a node"),
    (r"affinity|anti-affinity|topology", "loosen pod.affinity, or add nodes"),
)  # fmt: skip

PULLS: Final[tuple[tuple[str, str], ...]] = (
    (r"unauthorized|denied|authorization failed|authentication required|403|401",
     "give credentials in pod.imagePullSecrets, or correct the image's name"),
    (r"not found|manifest unknown|InvalidImageName|couldn't parse|invalid reference",
     "correct the image's name or tag; there is none of that name"),
    (r"no such host|timeout|timed out|connection refused|x509",
     "see whether nodes reach the registry"),
    (r"ErrImageNeverPull", "load the image into the node, or let it be pulled"),
)  # fmt: skip

# What Events say of an object: reason, text, remedy. None of the remedies fits but the first.
EVENTS: Final[tuple[tuple[str, str, str], ...]] = (
    (r"Failed(Create|CreatePodSandBox)?|FailedToCreate\w+", r"exceeded quota",
     "have the namespace's ResourceQuota raised, or ask for less"),
    (r"Failed\w*", r"violates PodSecurity", "leave out what the policy forbids"),
    (r"Failed\w*", r"limit ranges?|LimitRange|maximum (cpu|memory) usage",
     "ask for what the namespace's LimitRange allows"),
    (r"FailedMount|FailedAttachVolume", r"(secret|configmap) \"(\S+)\" not found",
     "create the {0} {1}"),
    (r"FailedMount|FailedAttachVolume", r"Multi-Attach|already (used|attached)",
     "another node has the volume: use ReadWriteMany, or wait until its pod is gone"),
    (r"FailedMount|FailedAttachVolume", r"", "see why the volume cannot be mounted"),
    (r"ProvisioningFailed|FailedBinding", r"no persistent volumes available|class.* not found",
     "name a StorageClass that exists, or make one the default"),
    (r"ProvisioningFailed|FailedBinding", r"", "see what the provisioner says"),
    (r"FailedCreatePodSandBox|NetworkNotReady", r"", "see whether the node's network works"),
    (r"Preempted|Evicted|NodeNotReady|TaintManagerEviction", r"", "wait: its place was taken"),
    (r"Failed(Create|ToCreate)\w*", r"", SEE),
)  # fmt: skip

QUOTA: Final[tuple[tuple[str, str], ...]] = (
    (r"ClusterQueue (\S+) (doesn't exist|is inactive)", "create or mend the ClusterQueue {0}"),
    (r"LocalQueue (\S+) (doesn't exist|is inactive)", "create or mend the LocalQueue {0}"),
    (r"insufficient quota for (\S+) .*request > maximum capacity",
     "ask for less {0} in a new job, or have the quota raised: it can never fit"),
    (r"insufficient (?:unused )?quota for (\S+)",
     "wait until others have ended, or have the quota for {0} raised"),
)  # fmt: skip

# Conditions beside Ready that need somebody, and what to do.
OTHERS: Final[tuple[tuple[str, str, str], ...]] = (
    ("BudgetExceeded", "True", REASONS["BudgetExceeded"]),
    ("ReportAccepted", "False", "see what in the job's pods writes the report ConfigMap"),
    ("ModelRegistered", "False", "see register and the job's metrics"),
    ("DataValidated", "False", REASONS["DataInvalid"]),
    ("RecordsComplete", "False", "see the dead-letter file in `loopwright status`"),
    ("RouteReady", "False", REASONS["NotAccepted"]),
    ("RoutingDegraded", "True", "use a Gateway that can do it, or leave it out of routing"),
    ("AutoscalingReady", "False", "install what the autoscaler needs; the message names it"),
    ("DriftDetected", "True", "look at the data in `loopwright report`, and train again"),
    ("DataQualityOK", "False", "look at the data in `loopwright report`, and mend what sends them"),
    ("CaptureHealthy", "False", "see whether the capture's storage can be written"),
)  # fmt: skip

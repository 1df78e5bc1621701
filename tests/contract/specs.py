"""Specs that set nearly every field, and a judge who asks both sides about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import yaml
from pydantic import ValidationError

from loopwright.api import kinds, names

Spec = dict[str, Any]
Place = tuple[Any, ...]


# 2.0 is an integer to the schema, but not to the API server's CEL, if a rule looks at the field.
# kubectl writes 2, whatever is in a manifest; and what is not stored nobody has to read.
# The same goes for what kubectl scale reads.
QUIRKS = ("expected int, got float64", "is of the type float64, expected int64")


class Judge:
    """The API server and the models, asked about the same specs of one kind."""

    def __init__(self, client: httpx.Client, kind: kinds.Kind = kinds.TRAININGJOB) -> None:
        self.client, self.kind = client, kind

    def ask(
        self, spec: Any, name: str = "job", annotations: dict[str, str] | None = None
    ) -> httpx.Response:
        """What the API server says of a spec; nothing is stored."""
        meta = {"name": name, "namespace": "default", "annotations": annotations or {}}
        kind = {"apiVersion": names.API_VERSION, "kind": self.kind.name}
        resource = f"{names.API_VERSION}/{self.kind.plural}"
        return self.send({**kind, "metadata": meta, "spec": spec}, resource)

    def send(self, obj: Any, resource: str, *, store: bool = False) -> httpx.Response:
        """What the API server says of an object of a resource such as `v1/configmaps`."""
        version, _, plural = resource.rpartition("/")
        root = "apis" if "/" in version else "api"
        return self.client.post(
            f"/{root}/{version}/namespaces/default/{plural}",
            params={"fieldValidation": "Strict"} | ({} if store else {"dryRun": "All"}),
            headers={"Content-Type": "application/json"},
            content=json.dumps(obj, allow_nan=False),
        )

    def stored(self, spec: Any, name: str = "job") -> Any:
        """The spec as the API server would store it; None when it refuses it."""
        return self._stored(self.ask(spec, name), spec)

    @staticmethod
    def _stored(answer: httpx.Response, spec: Any) -> Any:
        if answer.status_code == 403 and "loopwright-approval" in answer.text:
            return spec  # Past the schema; who decides about a version is a policy's business.
        assert answer.status_code in {201, 400, 422}, answer.text
        return answer.json()["spec"] if answer.status_code == 201 else None

    def agree(self, spec: Any, name: str = "job") -> bool:
        """Asserts that both say the same; whether they accept the spec."""
        answer = self.ask(spec, name)
        if any(quirk in answer.text for quirk in QUIRKS):
            return False
        stored, model = self._stored(answer, spec), parsed(spec, self.kind)
        assert (stored is None) == (model is None)
        assert stored is None or parsed(stored, self.kind) == model
        return model is not None


def parsed(spec: Any, kind: kinds.Kind = kinds.TRAININGJOB) -> Any:
    """The model of a spec; None when pydantic refuses it."""
    model = kind.model.model_fields["spec"].annotation
    assert model is not None
    try:
        return model.model_validate(spec)
    except ValidationError:
        return None


# Together they set nearly every field.
RICH: list[Spec] = list(
    yaml.safe_load_all(
        """
image: registry.example.com/a:b
rayVersion: 2.60.0
script: {archiveUri: "https://x.org/a.tgz", path: a/b.py, secretRef: {name: s}, digest: DIGEST}
args: [--fast, ""]
hyperparameters: {lr: "0.1", epochs: "3"}
hyperparameterStyle: Args
numWorkers: 2
resourcesPerWorker:
  {cpu: 500m, memory: 1.5Gi, gpu: 1, gpuResource: amd.com/gpu, shmSize: "1e3",
   ephemeralStorage: 1000}
procsPerWorker: 2
head: {resources: {cpu: 1}, pod: {labels: {a: b}}}
output: {uri: s3://b/x, secretRef: {name: s}}
checkpoint:
  {uri: "pvc://claim/c", secretRef: {name: s}, keep: 2, localPath: /ckpt, intervalHintSeconds: 60,
   resumeFrom: s3://b/c/step-1}
spot:
  {enabled: true, nodeSelector: {pool: spot}, tolerations: [{key: spot}], fallbackOnDemandAfter: 2,
   gracePeriodSeconds: 30}
---
function: a.b:c
env:
- {name: A, value: b}
- {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: C, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
envFrom: [{prefix: P_, secretRef: {name: s}}, {configMapRef: {name: c}}]
inputs:
- name: a
  source: {uri: s3://b/x, secretRef: {name: s}, digest: DIGEST}
  mountPath: /in/a
  env: DATA
  validation:
    schema:
      columns: [{name: x, type: Number, nullable: false}, {name: y, required: false}]
      allowOthers: false
    expectations:
    - {column: x, min: "-1", max: "1e3", maxFailedPercent: "0.5"}
    - {column: y, unique: true, allowedValues: [a, b], pattern: "[ab]"}
    minRows: 10
    onFailure: Warn
- name: b
  source: {configMapRef: {name: c}}
  validation:
    baselineRef: {modelRef: {name: m, alias: live}}
    drift:
      {threshold: "0.2", minSamples: 100,
       features: [{name: x, ignore: true}, {name: y, threshold: "0.3"}]}
pod:
  nodeSelector: {pool: a}
  tolerations:
  - {key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
  - {key: k, value: v}
  affinity: {}
  imagePullSecrets: [{name: registry}]
  volumes:
  - {name: a, emptyDir: {}}
  - {name: b, downwardAPI: {}}
  - {name: c, projected: {sources: [{secret: {name: s}}], defaultMode: 256}}
  volumeMounts:
  - {name: a, mountPath: /a, subPath: b/c, readOnly: true}
  - {name: b, mountPath: /b}
  labels: {team: a}
  annotations: {example.com/why: because}
---
command: [python, -c, print()]
script: null
procsPerWorker: auto
retry:
  {maxApplicationFailures: 1, maxInfrastructureFailures: 5, backoffSeconds: 1,
   backoffMaxSeconds: 10, nonRetriableExitCodes: [2, 3]}
runPolicy:
  {maxRuntimeSeconds: 600, maxPendingSeconds: 60, suspend: true, ttlSecondsAfterFinished: 5}
scheduling: {queue: team, priorityClass: high}
budget: {maxCost: "12.5", maxGpuHours: "3", action: Stop}
metrics:
  source: {kind: Stdout, regex: ["loss=(?P<loss>.*)"]}
  objective: {metric: loss, direction: Maximize}
register:
  model: m
  card: "# M"
  aliases: [live, next]
  allowUnsafe: true
  requireMetrics: [{metric: loss, max: "1.5e-3"}, {metric: acc, min: "0", max: "1"}]
""".replace("DIGEST", "sha256:" + "0" * 64)
    )
)


RICH_MODELS: list[Spec] = list(
    yaml.safe_load_all(
        """
description: Reads digits
card: "# Digits"
requireApproval: true
aliases: {live: v1, next: 2026.11-rc.1}
retention: {keep: 3}
autoApprove:
  requireMetrics: [{metric: accuracy, min: "0.9"}, {metric: ms, min: "0", max: "1e2"}]
  notWorseThan:
    alias: live
    metrics: [{metric: accuracy, direction: Maximize, tolerance: "0.01"}]
"""
    )
)
RICH_ENDPOINTS: list[Spec] = list(
    yaml.safe_load_all(
        """
variants:
- name: old
  model: {modelRef: {name: m, alias: production}}
  weight: 90
  runtime: {format: sklearn, formatVersion: "1.5", servingRuntime: kserve-x, protocol: v1}
  resources: {cpu: 500m, memory: 1Gi}
  replicas: 2
- name: new
  model: {sweepRef: {name: s}}
  weight: 0
  runtime: {image: "r/s:1", command: [serve], args: [--fast], env: [{name: A, value: b}]}
  autoscaling: {mode: "None"}
  pod: {labels: {a: b}}
- name: shadow
  model: {trainingJobRef: {name: j}}
  role: Shadow
  mirrorPercent: 5
replicas: 3
monitors:
- name: drift
  kind: DataDrift
  variants: [old, new]
  everySeconds: 60
  minSamples: 50
  method: PSI
  threshold: "0.2"
  alpha: "0.05"
  correction: "None"
  features: [{name: f0, threshold: "0.3"}, {name: "a b", ignore: true}]
  driftShare: "0.25"
  violatedWindows: 3
  ofWindows: 5
  onViolation:
    alert: {severity: critical}
    rollback: true
    scaleWeightTo: 0
    retrain: {trainingJobRef: {name: j}, cooldownSeconds: 600, maxPerDay: 3}
- {name: quality, kind: DataQuality, threshold: "0.01", onViolation: {retrain: {}}}
- {name: predictions, kind: PredictionDrift}
dataCapture:
  destination: {uri: s3://lake/captures, secretRef: {name: keys}}
  samplePercent: 5
  mode: Request
  maxBodyBytes: 1000
  redact: ["$.instances[*].email", "$..x", "$.inputs[?@.name=='it'].data[0]", "$['a b'][12]"]
  flushSeconds: 60
  retentionDays: 30
autoscaling:
  mode: KEDA
  min: 2
  max: 9
  metrics:
  - {cpu: {utilization: 70}}
  - {memory: {average: 1.5Gi}}
  - {rps: {perReplica: 20}}
  - {prometheus: {query: "sum(x)", threshold: "2.5"}}
  scaleDownWindowSeconds: 60
rollout:
  strategy: Linear
  canaryPercent: 5
  stepPercent: 25
  bakeSeconds: 30
  checks:
  - {name: errors, errorRate: {maxPercent: "1.5"}, failureLimit: 3, onNoData: Fail}
  - {name: p50, latency: {quantile: p50, maxMilliseconds: "20"}}
  - {name: p99, latency: {maxRatio: "1.5"}}
  - {name: revenue, prometheus: {query: "y{a='{{variant}}'}", min: "-1", max: "1e3"}}
  checkSeconds: 10
  minRequests: 5
  autoRollback: false
  maxDurationSeconds: 600
  keepPreviousSeconds: 0
routing:
  gatewayRef: {name: gw, namespace: gateways, sectionName: web}
  hostnames: [models.example.com, "*.example.org"]
  path: /a/b-c
  sticky: {cookie: arm}
  rules: [{name: beta, variant: new, headers: [{name: X-Beta, value: "yes"}]}]
  timeoutSeconds: 30
batcher: {maxBatchSize: 64, maxLatencyMs: 2}
requireApproval: true
suspend: true
---
variants: [{name: main, model: {modelRef: {name: m, version: v1}}}]
autoscaling: {}
rollout: {strategy: Manual, canaryPercent: 0, checks: []}
routing: {sticky: {header: x-variant}}
monitors:
- {name: drift, kind: DataDrift}
- name: answers
  kind: ModelQuality
  threshold: "0.8"
  quality:
    labels:
      uri: s3://lake/labels
      secretRef: {name: keys}
      requestId: id
      label: paid
      delaySeconds: 604800
    metric: Recall
    positive: "1"
    answer: {output: probabilities, cutoff: "0.5"}
    slices: [{column: region}, {column: "a b"}]
    bias: {column: sex, privileged: m, maxDifference: "0.1", minRatio: "0.8"}
- name: prices
  kind: ModelQuality
  threshold: "12.5"
  quality: {labels: {uri: pvc://lake/labels}, metric: MAE}
- name: registered
  kind: ModelQuality
  quality:
    labels: {uri: pvc://lake/labels}
    worseThanBaseline: {metric: val/accuracy, by: "0.05"}
dataCapture: {destination: {uri: pvc://lake/captures}, mode: Response, retentionDays: 8}
requireApproval: false
---
variants:
- {name: main, model: {modelRef: {name: m, version: v1}}, weight: 90}
- {name: next, model: {modelRef: {name: m, version: v2}}, weight: 10}
experiment:
  control: main
  metric: {feedback: {name: clicked, kind: Mean, direction: Decrease}}
  minSamples: 500
  maxDurationSeconds: 3600
  alpha: "0.01"
  smallestEffect: "0.002"
  guardrails:
    errorRatio: {maxIncrease: "0.005"}
    latency: {slowerThanMilliseconds: 250, maxIncrease: "0.02"}
  onWin: Promote
requireApproval: false
---
variants:
- {name: main, model: {modelRef: {name: m, version: v1}}}
- {name: next, model: {modelRef: {name: m, version: v2}}}
experiment:
  control: next
  metric: {errorRatio: {}}
  guardrails: {latency: {slowerThanMilliseconds: 100}}
requireApproval: false
---
variants:
- {name: main, model: {modelRef: {name: m, version: v1}}}
- {name: next, model: {modelRef: {name: m, version: v2}}}
experiment: {control: main, metric: {latency: {slowerThanMilliseconds: 1000}}}
requireApproval: false
"""
    )
)
RICH_BATCHES: list[Spec] = list(
    yaml.safe_load_all(
        """
model: {modelRef: {name: m, alias: production}}
predictor: {class: "a.b:C"}
image: registry.example.com/a:b
rayVersion: 2.60.0
env: [{name: A, value: b}]
envFrom: [{configMapRef: {name: c}}]
input:
  {uri: s3://b/in, secretRef: {name: s}, format: csv, compression: Gzip, include: ["a/**"],
   exclude: ["*.tmp"]}
output:
  {uri: s3://b/out, secretRef: {name: s}, format: jsonl, overwrite: Replace, compression: Gzip}
dataProcessing: {inputFilter: "$['a', 'b']", joinSource: Input, outputFilter: "$.label"}
batching: {batchSize: 64}
errors:
  {maxFailedRecords: 10, maxFailedPercent: 5, deadLetterUri: s3://b/bad,
   onSchemaMismatch: DeadLetter}
resume: {enabled: true, shardSizeMB: 64}
validation: {expectations: [{column: a, min: "0"}]}
numWorkers: 4
resourcesPerWorker: {cpu: 2, memory: 4Gi}
procsPerWorker: 2
head: {resources: {cpu: 1}}
spot: {enabled: true}
---
model: {modelVersionRef: {name: m-v1}}
input: {uri: "pvc://claim/in/", format: images}
output: {uri: pvc://claim/out, overwrite: Skip}
resume: {enabled: false}
retry: {maxApplicationFailures: 1}
runPolicy: {suspend: true, ttlSecondsAfterFinished: 5}
scheduling: {queue: team, priorityClass: high}
budget: {maxGpuHours: "0.5"}
pod: {labels: {a: b}}
---
endpointRef: {name: scores, variant: main}
input: {uri: s3://b/in, format: jsonl}
output: {uri: s3://b/out}
batching: {batchSize: 32, maxConcurrent: 8}
"""
    )
)
RICH_VERSIONS: list[Spec] = list(
    yaml.safe_load_all(
        """
modelRef: {name: m}
version: v1
uri: s3://b/x
secretRef: {name: s}
digest: DIGEST
format: onnx
signature:
  inputs: [{name: x, dtype: float32, shape: [-1, 1, 8, 8]}]
  outputs: [{name: y, dtype: float32, shape: [-1, 10]}]
metrics: [{name: accuracy, value: "0.9"}, {name: loss, value: nan}]
baselineRef: {uri: s3://b/x/model.json, digest: DIGEST}
card: "# V1"
aliases: [live]
approval: {state: Rejected, by: ada, reason: too slow}
---
modelRef: {name: m}
version: v1
uri: pvc://claim/x
format: sklearn
allowUnsafe: true
lineage:
  trainingJob: {name: j, uid: u, attempt: 2}
  hyperparameterSweep: {name: s, uid: v}
  runId: r
  trainedAt: "2026-01-01T00:00:00Z"
  inputs: [{name: a, uri: s3://b/y, digest: DIGEST}, {name: b, uri: ""}]
  image: registry.example.com/a:b
  gitRevision: abc123
""".replace("DIGEST", "sha256:" + "0" * 64)
    )
)


RICH_SWEEPS: list[Spec] = list(
    yaml.safe_load_all(
        """
objectives: [{metric: accuracy, direction: Maximize, goal: "0.99", strategy: Max}]
parameters:
- {name: lr, logUniform: {min: "1e-5", max: "1e-1"}}
- {name: momentum, uniform: {min: "0", max: "0.99", step: "0.01"}}
- {name: noise, normal: {mean: "0", std: "1"}}
- {name: layers, int: {min: 1, max: 9, step: 2}}
- {name: width, int: {min: 8, max: 1024, log: true}}
- {name: optimizer, categorical: {choices: [adam, sgd, ""]}}
algorithm: {seed: 7, tpe: {startupTrials: 5, multivariate: true}}
maxTrials: 40
parallelTrials: 4
maxFailedTrials: 0
trialsPerGpu: 2
stopWhen: {goalReached: false, noImprovement: {trials: 10}}
earlyStopping: {kind: Asha, graceSteps: 2, maxSteps: 30, eta: 3, brackets: 2}
metrics:
  source: {kind: Stdout, regex: ["loss=(?P<loss>.*)"]}
  missing: RetryOnce
  timeoutSeconds: 60
warmStart:
  sweeps: [earlier]
  results: [{parameters: {lr: "0.1"}, metrics: {accuracy: "0.5"}}]
trialTemplate:
  spec:
    script: {inline: "print()"}
    hyperparameters: {epochs: "3"}
    numWorkers: 2
    resourcesPerWorker: {cpu: 500m, memory: 1Gi, gpu: 1}
    output: {uri: s3://b/x, secretRef: {name: s}}
    checkpoint: {}
promote: {model: m, aliases: [live], requireMetrics: [{metric: accuracy, min: "0.9"}]}
head: {resources: {cpu: 500m}}
retry: {maxInfrastructureFailures: 1, backoffSeconds: 1, backoffMaxSeconds: 2}
runPolicy:
  {maxRuntimeSeconds: 600, maxPendingSeconds: 60, suspend: true, ttlSecondsAfterFinished: 5}
scheduling: {queue: team, priorityClass: high}
budget: {maxCost: "100", action: Suspend}
---
objectives: [{metric: loss}, {metric: seconds, goal: "-1"}]
parameters: [{name: a, uniform: {min: "-1.5", max: "2e3"}}]
algorithm: {nsga2: {population: 8}}
earlyStopping: {kind: "None", minTrials: 2}
trialTemplate: {spec: {function: "a:b", numWorkers: 0}}
---
objectives: [{metric: loss}]
parameters:
- {name: a, categorical: {choices: [x]}}
- {name: b, uniform: {min: "0", max: "1", step: "0.5"}}
algorithm: {grid: {}}
trialTemplate: {spec: {command: [x]}}
---
objectives: [{metric: loss}]
parameters: [{name: a, int: {min: 0, max: 1}}]
algorithm: {pbt: {intervalSteps: 2, quantile: "0.5"}}
trialTemplate: {spec: {command: [x]}}
"""
    )
)


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Where a spec holds a value, at any depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*here, key)
        if isinstance(item, dict | list):
            yield from places(item, (*here, key))

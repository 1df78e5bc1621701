{{/* What the operator does in the namespaces that it watches. */}}
{{- define "loopwright.rules" -}}
- {apiGroups: [loopwright.io], resources: [trainingjobs], verbs: [get, list, watch, create, delete]}
- {apiGroups: [loopwright.io], resources: [hyperparametersweeps, batchtransforms], verbs: [get, list, watch, delete]}
- {apiGroups: [loopwright.io], resources: [trainingjobs/status, hyperparametersweeps/status, batchtransforms/status, models/status, modelversions/status, modelendpoints/status], verbs: [patch]}
- {apiGroups: [loopwright.io], resources: [modelendpoints], verbs: [get, list, watch]}
- {apiGroups: [loopwright.io], resources: [models], verbs: [get, list, watch, create]}
# It approves, in its own name, what a Model's spec.autoApprove lets pass.
- {apiGroups: [loopwright.io], resources: [modelversions], verbs: [get, list, watch, create, patch, delete, approve]}
- {apiGroups: [ray.io], resources: [rayjobs], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [ray.io], resources: [rayclusters], verbs: [list, watch]}
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch, create, patch]}
- {apiGroups: [""], resources: [serviceaccounts], verbs: [get, list, watch, create, patch]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [get, list, watch, create, patch]}
# KServe makes the Deployments of endpoints, and the operator those of their monitors.
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [apps], resources: [deployments/scale], verbs: [patch]}
- {apiGroups: [apps], resources: [controllerrevisions], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [serving.kserve.io], resources: [inferenceservices], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [gateway.networking.k8s.io], resources: [httproutes], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [keda.sh], resources: [scaledobjects], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [monitoring.coreos.com], resources: [prometheusrules], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [""], resources: [services], verbs: [get, list, watch, create, patch]}
# Why pods of an endpoint do not serve.
- {apiGroups: [""], resources: [pods], verbs: [list]}
# For the monitors of endpoints: nobody may give what they have not.
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch, create, patch, delete]}
# Whether what a job names exists; only metadata is asked for.
- {apiGroups: [""], resources: [secrets, persistentvolumeclaims], verbs: [get]}
- {apiGroups: [kueue.x-k8s.io], resources: [localqueues], verbs: [get]}
- {apiGroups: [kueue.x-k8s.io], resources: [workloads], verbs: [list]}
- {apiGroups: [""], resources: [events], verbs: [create]}
# The operator watches its own Lease, whose renewals prove that watches work.
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch]}
{{- end -}}

{{/* What belongs to no namespace, or may be in any. All of it is read only. */}}
{{- define "loopwright.clusterRules" -}}
# The Gateway of an endpoint, which may be in another namespace, and what its class can do.
- {apiGroups: [gateway.networking.k8s.io], resources: [gateways, gatewayclasses], verbs: [get]}
# Whether the one that a job names exists.
- {apiGroups: [scheduling.k8s.io], resources: [priorityclasses], verbs: [get]}
# kopf notices CRDs that appear later.
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [list, watch]}
{{- end -}}

{{/* kopf watches the same kinds in every namespace, in that of the Lease as well. */}}
{{- define "loopwright.ownRules" -}}
- {apiGroups: [loopwright.io], resources: [trainingjobs, hyperparametersweeps, batchtransforms, models, modelversions, modelendpoints], verbs: [list, watch]}
- {apiGroups: [ray.io], resources: [rayjobs, rayclusters], verbs: [list, watch]}
- {apiGroups: [""], resources: [configmaps, serviceaccounts, services], verbs: [list, watch]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [list, watch]}
- {apiGroups: [apps], resources: [deployments, controllerrevisions], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list, watch]}
- {apiGroups: [serving.kserve.io], resources: [inferenceservices], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: [httproutes], verbs: [list, watch]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list, watch]}
- {apiGroups: [keda.sh], resources: [scaledobjects], verbs: [list, watch]}
- {apiGroups: [monitoring.coreos.com], resources: [prometheusrules], verbs: [list, watch]}
- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list, watch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list, watch]}
{{- end -}}

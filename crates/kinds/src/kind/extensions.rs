//! The kinds that extend or guard the API itself.

use super::{Entry, group, part};

const APIREGISTRATION: Entry = group("apiregistration.k8s.io", "v1");
const ADMISSIONREGISTRATION: Entry = group("admissionregistration.k8s.io", "v1");
const APIEXTENSIONS: Entry = group("apiextensions.k8s.io", "v1");
const FLOWCONTROL: Entry = group("flowcontrol.apiserver.k8s.io", "v1");

pub(super) const APIREGISTRATION_KINDS: &[Entry] = &[APIREGISTRATION
    .cluster([
        "APIService",
        "apiservice",
        "apiservices",
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    ])
    .within(&["api-extensions"])
    .with(&[part("status", "apiregistration.k8s.io", "APIService")])];

pub(super) const ADMISSIONREGISTRATION_KINDS: &[Entry] = &[
    ADMISSIONREGISTRATION
        .cluster([
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicy",
            "mutatingadmissionpolicies",
            "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
        ])
        .within(&["api-extensions"]),
    ADMISSIONREGISTRATION
        .cluster([
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybinding",
            "mutatingadmissionpolicybindings",
            "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
        ])
        .within(&["api-extensions"]),
    ADMISSIONREGISTRATION
        .cluster([
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfiguration",
            "mutatingwebhookconfigurations",
            "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
        ])
        .within(&["api-extensions"]),
    ADMISSIONREGISTRATION
        .cluster([
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicy",
            "validatingadmissionpolicies",
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
        ])
        .within(&["api-extensions"])
        .with(&[part("status", "admissionregistration.k8s.io", "ValidatingAdmissionPolicy")]),
    ADMISSIONREGISTRATION
        .cluster([
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybinding",
            "validatingadmissionpolicybindings",
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
        ])
        .within(&["api-extensions"]),
    ADMISSIONREGISTRATION
        .cluster([
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfiguration",
            "validatingwebhookconfigurations",
            "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
        ])
        .within(&["api-extensions"]),
];

pub(super) const APIEXTENSIONS_KINDS: &[Entry] = &[APIEXTENSIONS
    .cluster([
        "CustomResourceDefinition",
        "customresourcedefinition",
        "customresourcedefinitions",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ])
    .short(&["crd", "crds"])
    .within(&["api-extensions"])
    .with(&[part("status", "apiextensions.k8s.io", "CustomResourceDefinition")])];

pub(super) const FLOWCONTROL_KINDS: &[Entry] = &[
    FLOWCONTROL
        .cluster(["FlowSchema", "flowschema", "flowschemas", "io.k8s.api.flowcontrol.v1.FlowSchema"])
        .with(&[part("status", "flowcontrol.apiserver.k8s.io", "FlowSchema")]),
    FLOWCONTROL
        .cluster([
            "PriorityLevelConfiguration",
            "prioritylevelconfiguration",
            "prioritylevelconfigurations",
            "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
        ])
        .with(&[part("status", "flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration")]),
];

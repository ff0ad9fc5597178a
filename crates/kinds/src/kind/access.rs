//! The kinds of authentication, authorization and certificates.

use super::{Entry, group, part};

const AUTHENTICATION: Entry = group("authentication.k8s.io", "v1");
const AUTHORIZATION: Entry = group("authorization.k8s.io", "v1");
const CERTIFICATES: Entry = group("certificates.k8s.io", "v1");
const RBAC: Entry = group("rbac.authorization.k8s.io", "v1");

pub(super) const AUTHENTICATION_KINDS: &[Entry] = &[
    AUTHENTICATION
        .cluster([
            "SelfSubjectReview",
            "selfsubjectreview",
            "selfsubjectreviews",
            "io.k8s.api.authentication.v1.SelfSubjectReview",
        ])
        .verbs(&["create"]),
    AUTHENTICATION
        .cluster(["TokenReview", "tokenreview", "tokenreviews", "io.k8s.api.authentication.v1.TokenReview"])
        .verbs(&["create"]),
];

pub(super) const AUTHORIZATION_KINDS: &[Entry] = &[
    AUTHORIZATION
        .namespaced([
            "LocalSubjectAccessReview",
            "localsubjectaccessreview",
            "localsubjectaccessreviews",
            "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        ])
        .verbs(&["create"]),
    AUTHORIZATION
        .cluster([
            "SelfSubjectAccessReview",
            "selfsubjectaccessreview",
            "selfsubjectaccessreviews",
            "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        ])
        .verbs(&["create"]),
    AUTHORIZATION
        .cluster([
            "SelfSubjectRulesReview",
            "selfsubjectrulesreview",
            "selfsubjectrulesreviews",
            "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        ])
        .verbs(&["create"]),
    AUTHORIZATION
        .cluster([
            "SubjectAccessReview",
            "subjectaccessreview",
            "subjectaccessreviews",
            "io.k8s.api.authorization.v1.SubjectAccessReview",
        ])
        .verbs(&["create"]),
];

pub(super) const CERTIFICATES_KINDS: &[Entry] = &[CERTIFICATES
    .cluster([
        "CertificateSigningRequest",
        "certificatesigningrequest",
        "certificatesigningrequests",
        "io.k8s.api.certificates.v1.CertificateSigningRequest",
    ])
    .short(&["csr"])
    .with(&[
        part("approval", "certificates.k8s.io", "CertificateSigningRequest"),
        part("status", "certificates.k8s.io", "CertificateSigningRequest"),
    ])];

pub(super) const RBAC_KINDS: &[Entry] = &[
    RBAC.cluster([
        "ClusterRoleBinding",
        "clusterrolebinding",
        "clusterrolebindings",
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
    ]),
    RBAC.cluster(["ClusterRole", "clusterrole", "clusterroles", "io.k8s.api.rbac.v1.ClusterRole"]),
    RBAC.namespaced(["RoleBinding", "rolebinding", "rolebindings", "io.k8s.api.rbac.v1.RoleBinding"]),
    RBAC.namespaced(["Role", "role", "roles", "io.k8s.api.rbac.v1.Role"]),
];

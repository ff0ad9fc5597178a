//! Where Pods have their groups: in a tree of our own, or in the one that a kubelet beside us has made.
//!
//! ```text
//!   own        crest/online/pod<uid>/<id>                     crest-batch/pod<uid>/<id>
//!   systemd    kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
//!   cgroupfs   kubepods/burstable/pod<uid>/<id>               Pods with the class Guaranteed stand right below kubepods
//! ```
//!
//! A kubelet sorts by requests and limits, not by who gives way: batch asks for no `cpu` and no `memory`, so it is among
//! the Pods of the class BestEffort. Of its groups those of the classes are the kubelet's, which writes their weights again
//! and again; so the idle class is set on Pods there.

use model::QosClass;

use super::Backend;

/// How a kubelet names groups: its setting `cgroupDriver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Systemd,
    Cgroupfs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Own {
        root: String,
    },
    Kubelet {
        /// The group that holds all of it; empty for the hierarchy's root.
        parent: String,
        driver: Driver,
    },
}

/// The classes of Pods that have a group of their own at a kubelet.
const BY_QOS: [&str; 2] = ["burstable", "besteffort"];

impl Layout {
    /// The tree of the kubelet below `parent`, if there is one; by any driver, unless one is named.
    pub(super) fn of_kubelet(backend: &dyn Backend, parent: &str, driver: Option<Driver>) -> Option<Self> {
        let drivers = [Driver::Systemd, Driver::Cgroupfs].into_iter();
        let drivers = drivers.filter(|known| driver.is_none_or(|driver| driver == *known));
        let layouts = drivers.map(|driver| Self::Kubelet { parent: parent.to_owned(), driver });
        layouts.into_iter().find(|layout| backend.exists(&layout.class(QosClass::Online)))
    }

    /// The group of all Pods of `class`; at a kubelet that of services holds batch, too.
    pub(super) fn class(&self, class: QosClass) -> String {
        match (self, class) {
            (Self::Own { root }, QosClass::Online) => format!("{root}/online"),
            (Self::Own { root }, QosClass::Batch) => format!("{root}-batch"),
            (Self::Kubelet { .. }, QosClass::Online) => self.kubepods(None),
            (Self::Kubelet { .. }, QosClass::Batch) => self.kubepods(Some("besteffort")),
        }
    }

    /// The groups that hold all Pods of `class` and that are for us to write, from the top.
    pub(super) fn line_of(&self, class: QosClass) -> Vec<String> {
        match (self, class) {
            (Self::Own { root }, QosClass::Online) => vec![root.clone(), self.class(class)],
            (Self::Kubelet { .. }, QosClass::Online) => {
                vec![self.kubepods(None), self.kubepods(Some("burstable"))]
            }
            (_, QosClass::Batch) => vec![self.class(class)],
        }
    }

    pub(super) fn pod(&self, backend: &dyn Backend, class: QosClass, uid: &str) -> String {
        match self {
            Self::Own { .. } => format!("{}/pod{uid}", self.class(class)),
            Self::Kubelet { .. } => {
                let of = |qos: Option<&str>| self.pod_of_kubelet(qos, uid);
                let places = [Some(BY_QOS[0]), Some(BY_QOS[1]), None].map(of);
                // One that has no group yet, or none any more, is told so by the file that is not there.
                places.into_iter().find(|group| backend.exists(group)).unwrap_or_else(|| of(None))
            }
        }
    }

    /// The group of container `id` of the Pod with `group`.
    pub(super) fn container(&self, backend: &dyn Backend, group: &str, id: &str) -> String {
        let own = format!("{group}/{id}");
        match self {
            // Each engine has a prefix of its own.
            Self::Kubelet { driver: Driver::Systemd, .. } => {
                let ends = format!("-{id}.scope");
                // CRI-O may have what watches a container in a scope beside it.
                let is_its = |child: &String| child.ends_with(&ends) && !child.contains("-conmon-");
                backend.children(group).into_iter().find(is_its).unwrap_or(own)
            }
            Self::Kubelet { driver: Driver::Cgroupfs, .. } | Self::Own { .. } => own,
        }
    }

    /// Whether the tree is made, weighed and removed by somebody else.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::Kubelet { .. })
    }

    /// The group of all Pods, or of those of a class of the kubelet's.
    fn kubepods(&self, qos: Option<&str>) -> String {
        let Self::Kubelet { parent, driver } = self else { return String::new() };
        let slash = if parent.is_empty() { "" } else { "/" };
        match (driver, qos) {
            (Driver::Systemd, None) => format!("{parent}{slash}kubepods.slice"),
            (Driver::Systemd, Some(qos)) => {
                format!("{parent}{slash}kubepods.slice/kubepods-{qos}.slice")
            }
            (Driver::Cgroupfs, None) => format!("{parent}{slash}kubepods"),
            (Driver::Cgroupfs, Some(qos)) => format!("{parent}{slash}kubepods/{qos}"),
        }
    }

    fn pod_of_kubelet(&self, qos: Option<&str>, uid: &str) -> String {
        let above = self.kubepods(qos);
        match self {
            // A dash says to systemd that a slice stands in another.
            Self::Kubelet { driver: Driver::Systemd, .. } => {
                let prefix = qos.map(|qos| format!("-{qos}")).unwrap_or_default();
                format!("{above}/kubepods{prefix}-pod{}.slice", uid.replace('-', "_"))
            }
            Self::Kubelet { .. } | Self::Own { .. } => format!("{above}/pod{uid}"),
        }
    }
}

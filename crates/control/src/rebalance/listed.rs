//! A cluster as the API lists it to whoever wants a plan once.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use model::interference_rule::InterferenceRule;
use model::reservation::Reservation;

use crate::sigma::snapshot::{self, ListError};

/// A cluster as it was listed.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub namespaces: Vec<Namespace>,
    pub budgets: Vec<PodDisruptionBudget>,
    pub reservations: Vec<Reservation>,
    pub interference_rules: Vec<InterferenceRule>,
    /// Kinds that are served but may not be read: what they say is not looked at.
    pub unread: Vec<String>,
}

impl Listed {
    /// Lists a cluster with the rights of `client`.
    pub async fn list(client: &Client) -> Result<Self, ListError> {
        let (nodes, pods, namespaces, budgets) = tokio::try_join!(
            snapshot::list(client),
            snapshot::list(client),
            snapshot::list(client),
            snapshot::list(client)
        )?;
        let mut unread = Vec::new();
        let reservations = snapshot::readable(client, &mut unread).await?;
        let interference_rules = snapshot::readable(client, &mut unread).await?;
        Ok(Self { nodes, pods, namespaces, budgets, reservations, interference_rules, unread })
    }
}

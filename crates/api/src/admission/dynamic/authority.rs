//! `authorizer` in expressions: the cluster's own rules.

use std::sync::Arc;

use kinds::cel::{Authority, Query, Verdict};

use crate::admission::Review;
use crate::authentication::User;
use crate::authorization::{Action, Decision, ObjectAction};
use crate::context::Context;

/// Answers for whoever sent the request.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    context: Arc<Context>,
    user: User,
    request: Query,
}

impl Rules {
    pub(super) fn of(review: &Review<'_>) -> Self {
        let request = Query {
            group: review.kind.group.to_owned(),
            resource: review.kind.plural.to_owned(),
            subresource: review.subresource.unwrap_or_default().to_owned(),
            namespace: review.namespace.to_owned(),
            name: review.name().to_owned(),
            ..Query::default()
        };
        Self { context: Arc::clone(&review.call.context), user: review.call.user.clone(), request }
    }
}

impl Authority for Rules {
    fn decide(&self, query: &Query) -> Verdict {
        let account = query.service_account.as_ref();
        let account = account.map(|(namespace, name)| User::service_account(namespace, name, ""));
        let user = account.as_ref().unwrap_or(&self.user);
        let given = |text: &'_ str| if text.is_empty() { None } else { Some(text.to_owned()) };
        let (subresource, namespace, name) =
            (given(&query.subresource), given(&query.namespace), given(&query.name));
        let action = match &query.path {
            Some(path) => Action::Path { verb: &query.verb, path },
            None => Action::Object(ObjectAction {
                verb: &query.verb,
                group: &query.group,
                resource: &query.resource,
                subresource: subresource.as_deref(),
                namespace: namespace.as_deref(),
                name: name.as_deref(),
                on_node: None,
            }),
        };
        match self.context.authorizer.decide(user, action) {
            Decision::Allowed(reason) => Verdict { is_allowed: true, reason },
            Decision::NoOpinion(reason) => Verdict { is_allowed: false, reason },
        }
    }

    fn request(&self) -> Query {
        self.request.clone()
    }
}

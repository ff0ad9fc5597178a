//! The mutations of a policy: parts of an object that are laid over it, or patches that are applied to it.

use serde_json::Value as Json;

use super::policy::{Compiler, Surroundings, items, text};
use crate::cel::{Budget, EvaluateError, Program, Type, to_json};
use crate::patch::{self, PatchType};
use crate::status::Failure;
use crate::{Kind, decode, defaults, managed};

/// Why a policy gives no object.
#[derive(Debug, thiserror::Error)]
pub enum MutateError {
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error("the expression yields nothing that could be a part of an object")]
    NoObject,
    #[error("error applying patch: {0}")]
    Patch(Failure),
}

#[derive(Debug)]
pub(super) enum Mutation {
    Configuration(Program),
    Patch(Program),
}

pub(super) fn compile(compiler: &mut Compiler, spec: &Json) -> Vec<Mutation> {
    let declarations = compiler.declarations(true);
    let mut mutations = Vec::new();
    for (path, mutation) in items("spec", spec, "mutations") {
        let (configuration, patch) = (&mutation["applyConfiguration"], &mutation["jsonPatch"]);
        if configuration.is_object() {
            let path = format!("{path}.applyConfiguration.expression");
            let wanted = [Type::Object("Object".to_owned())];
            let source = text(configuration, "expression");
            let program = compiler.expression(&path, source, (&declarations, &wanted));
            mutations.extend(program.map(Mutation::Configuration));
        } else if patch.is_object() {
            let path = format!("{path}.jsonPatch.expression");
            let source = text(patch, "expression");
            let program = compiler.expression(&path, source, (&declarations, &[Type::List]));
            mutations.extend(program.map(Mutation::Patch));
        }
    }
    mutations
}

impl Mutation {
    /// What it makes of `object`: again an object of `kind`, with its defaults.
    pub(super) fn apply(
        &self,
        kind: &Kind,
        object: &Json,
        surroundings: &Surroundings<'_>,
        budget: &Budget,
    ) -> Result<Json, MutateError> {
        let (Self::Configuration(program) | Self::Patch(program)) = self;
        let value = program.evaluate(surroundings, budget)?;
        let stated = to_json(&value).ok_or(MutateError::NoObject)?;
        let changed = match self {
            Self::Configuration(_) if !stated.is_object() => return Err(MutateError::NoObject),
            Self::Configuration(_) => managed::overlay(kind, object, stated),
            Self::Patch(_) => patch::apply(kind, PatchType::Json, object, stated.to_string().as_bytes()),
        };
        let decoded = changed.and_then(|changed| decode::object(kind, changed));
        let mut object = decoded.map_err(MutateError::Patch)?.object;
        defaults::apply(kind, &mut object);
        Ok(object)
    }
}

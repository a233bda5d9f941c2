//! UpdateFeatures (57), versions 0 to 2: the features of a cluster are those of its program. Asking for the level that there is
//! changes nothing and is granted; another one is refused with a reason.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use crate::controller::Controller;
use crate::node::{Incoming, Node};
use crate::time::Now;

/// From this version on one error stands for all, and each feature is not told.
const TELLS_ONE_ERROR_FROM: i16 = 2;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let version = incoming.header.api_version;
    let Some(body) = node.body::<UpdateFeaturesRequest>(now, &mut incoming) else { return };
    let judged: Result<Vec<UpdatableFeatureResult>, ErrorCode> =
        node.active().map(|controller| body.feature_updates.iter().map(|wish| judge(controller, wish)).collect());
    let mut answer = UpdateFeaturesResponse { error_code: super::code(&judged), ..UpdateFeaturesResponse::default() };
    let results = judged.unwrap_or_default();
    if version >= TELLS_ONE_ERROR_FROM {
        if let Some(first) = results.into_iter().find(|r| r.error_code != 0) {
            answer.error_code = first.error_code;
            answer.error_message = first.error_message.map(|text| format!("{}: {text}", first.feature));
        }
    } else {
        answer.results = results;
    }
    node.respond::<UpdateFeaturesRequest>(&incoming.to, &answer);
}

fn judge(controller: &Controller, wish: &FeatureUpdateKey) -> UpdatableFeatureResult {
    let known = crate::controller::FEATURES.iter().any(|(name, _)| *name == wish.feature);
    let now = controller.image().feature(&wish.feature);
    let refused = match (known, wish.max_version_level) {
        (false, _) => Some("no node of this cluster knows this feature".to_owned()),
        (true, level) if level == now => None,
        (true, _) => Some(format!("it is at level {now}, which the embedded cluster does not change")),
    };
    UpdatableFeatureResult {
        feature: wish.feature.clone(),
        error_code: if refused.is_some() { ErrorCode::INVALID_UPDATE_VERSION.0 } else { 0 },
        error_message: refused,
    }
}

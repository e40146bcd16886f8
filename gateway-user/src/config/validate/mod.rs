//! What makes a document sound: the rules that go beyond one value. Each rule tells
//! all that it finds and keeps silent about values that were reported before.

mod gateways;
mod guard;
mod names;
mod peerings;
mod public;
mod services;
mod snat;
mod vpcs;

pub(super) use guard::check as guard;
pub(super) use names::Names;
pub(super) use snat::owners;

use super::{document::Document, problem::Problems, read::At};

/// Applies every rule.
pub(super) fn validate(document: &At<Document>, problems: &mut Problems) {
    let names = Names::new(document, problems);
    gateways::check(document, problems);
    for vpc in names.vpcs() {
        vpcs::check(vpc, &names, problems);
    }
    vpcs::check_vnis(document, problems);
    peerings::check(document, &names, problems);
    services::check(document, &names, problems);
    snat::check(document, &names, problems);
    public::check(document, problems);
}

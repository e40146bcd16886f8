//! The guard: what it names exists, and what it asks for can have an effect.

use crate::config::{
    document::{
        Document,
        guard::{Challenge, InterfaceLists, ServiceGuard},
    },
    list::Entries,
    problem::Problems,
    read::{At, Maybe, Optional, listed, similar},
    topology::Protocol,
};

pub(in crate::config) fn check(document: &At<Document>, problems: &mut Problems) {
    for service in document.load_balancers.entries() {
        let protocol = service.listen.as_ref().map(|listen| listen.protocol);
        check_service(&service.guard, protocol, document, problems);
    }
    for floating in document.floating_ips.entries() {
        check_service(&floating.guard, None, document, problems);
    }
    let Some(guard) = document.guard.given() else {
        return;
    };
    check_service(&guard.services, None, document, problems);
    for lists in guard.interfaces.entries() {
        check_interface(lists, document, problems);
    }
}

/// A challenge is TCP's; its lower rate is the lower one; and nobody can guess it.
fn check_service(
    guard: &Maybe<ServiceGuard>,
    protocol: Option<Protocol>,
    document: &Document,
    problems: &mut Problems,
) {
    let Some(guard) = guard.given() else { return };
    if protocol == Some(Protocol::Udp) {
        let keys = [
            guard.new_flows.as_ref().map(|_| "new_flows"),
            guard.challenge.as_ref().map(|_| "challenge"),
        ];
        for key in keys.into_iter().flatten() {
            problems.error(
                guard.at,
                format!("`{key}` has no effect on UDP, which has no first packet of a flow"),
                "remove it; `packets` limits UDP, too",
            );
        }
    }
    let Some(challenge) = guard.challenge.given() else {
        return;
    };
    if document.secret.is_none() {
        problems.warning(
            challenge.at,
            "anybody can guess the numbers of the challenge: the topology has no secret",
            "add `secret:` with the output of `openssl rand -hex 16`, in quotes",
        );
    }
    if let Challenge::Keys(keys) = &challenge.value
        && let (Some(above), Some(below)) = (&*keys.above, keys.below.given())
    {
        let cross = |a: u32, b: u32| u64::from(a) * u64::from(b);
        if cross(below.0.count, above.0.seconds) > cross(above.0.count, below.0.seconds) {
            problems.error(
                below.at,
                "`below` is a higher rate than `above`: the challenge would never end",
                "leave `below` out for half of `above`, or choose a lower rate",
            );
        }
    }
}

/// Interface lists name a gateway and one of its public interfaces.
fn check_interface(lists: &InterfaceLists, document: &Document, problems: &mut Problems) {
    let Some(name) = &*lists.gateway else { return };
    let gateways = document.gateways.entries();
    let names = || {
        gateways
            .iter()
            .filter_map(|gateway| gateway.name.as_ref())
            .map(|name| name.0.as_str())
    };
    let found = gateways
        .iter()
        .find(|gateway| gateway.name.as_ref().is_some_and(|n| n.value == name.value));
    let Some(gateway) = found else {
        if document.gateways.is_complete() {
            let hint = match similar(&name.0, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known: {}", listed(names())),
            };
            let what = format!("there is no gateway `{}`", name.value);
            problems.error(name.at, what, hint);
        }
        return;
    };
    let public = gateway.public.as_ref().and_then(|p| p.interface.as_ref());
    let (Some(interface), Some(public)) = (lists.interface.given(), public) else {
        return;
    };
    if !public.0.iter().any(|one| one.value == interface.value) {
        let known = public.0.iter().map(|one| one.value.0.as_str());
        problems.error(
            interface.at,
            format!(
                "`{}` is no public interface of gateway `{}`",
                interface.value, name.value
            ),
            format!("known: {}", listed(known)),
        );
    }
}

//! What a change of backends costs, and what becomes of backends that go.

use gateway_common::RingSlot;

use crate::{
    config::{self, Topology},
    diff::{Write, diff},
    model::{BackendId, Clock, Condition, Course, Label, Tables, tables},
    reachability::Reachability,
};

/// A site with `instances` instances, of which those in `backends` serve with a weight.
fn site(instances: usize, backends: impl Iterator<Item = (usize, u16)>) -> Topology {
    let instances: Vec<_> = (0..instances)
        .map(|number| {
            let (high, low) = (number / 250, number % 250);
            format!(
                "{{ name: vm-{number}, ip: 172.16.{high}.{}, host: a, \
                 mac: \"02:aa:00:00:{high:02x}:{low:02x}\" }}",
                low + 4
            )
        })
        .collect();
    let backends: Vec<_> = backends
        .map(|(number, weight)| format!("{{ instance: vm-{number}, weight: {weight} }}"))
        .collect();
    let text = format!(
        "version: 1\nanycast_vtep: 10.0.0.100\nunderlay_mtu: 1600\n\
         gateways: [{{ name: gw, public: {{ interface: p }}, \
           underlay: {{ interface: u, vtep: 10.0.0.11 }} }}]\n\
         hosts: [{{ name: a, vtep: 10.0.1.2 }}]\n\
         vpcs:\n  - name: shop\n    vni: 5001\n\
         \x20   subnets: [{{ name: s, cidr: 172.16.0.0/16, router: 172.16.255.1 }}]\n\
         \x20   instances: [{}]\n\
         load_balancers:\n  - {{ name: web, vip: 203.0.113.10, listen: tcp/443, vpc: shop, \
           backends: [{}] }}\n\
         drain: {{ idle: 60s, max: 10m }}\n",
        instances.join(", "),
        backends.join(", ")
    );
    match config::parse("site.yaml", &text) {
        Ok(loaded) => loaded.topology,
        Err(report) => panic!("{report}"),
    }
}

const fn clock(seconds: u64) -> Clock {
    Clock {
        seconds,
        milliseconds: seconds as u32 * 1_000,
    }
}

fn computed(course: &Course, served: &Topology) -> Tables {
    tables(
        served,
        &served.gateways[0],
        &Reachability::default(),
        course,
    )
}

/// Out of a thousand backends, one comes, goes, or gets another weight: what is written
/// are the slots that change hands, an epoch for each, and the backend's own records.
#[test]
fn a_change_writes_what_changed_and_no_more() {
    let all = || (0..1_000).map(|number| (number, 1));
    type Change = (&'static str, fn(usize) -> Option<u16>, usize);
    let changes: [Change; 4] = [
        ("one goes", |n| (n != 500).then_some(1), 1),
        ("one drains", |n| Some(u16::from(n != 500)), 1),
        ("one gets heavier", |n| Some(1 + u16::from(n == 500)), 1),
        ("one comes", |_| Some(1), 1_001),
    ];
    for (what, weight, more) in changes {
        let (course, served) = Course::default().follow(&site(1_001, all()), clock(10));
        let before = computed(&course, &served);
        let wanted = (0..1_000.max(more)).filter_map(|n| Some((n, weight(n)?)));
        let (course, served) = course.follow(&site(1_001, wanted), clock(20));
        let after = computed(&course, &served);
        let writes = diff(&before, &after);

        assert_eq!(before.ring.len(), 65_536, "{what}");
        let pairs = before.ring.iter().zip(&after.ring);
        let moved = pairs.filter(|(before, after)| before != after).count();
        let count = |is: fn(&Write) -> bool| writes.iter().filter(|write| is(write)).count();
        assert_eq!(count(|write| matches!(write, Write::Ring(..))), moved);
        assert_eq!(count(|write| matches!(write, Write::Epoch(..))), moved);
        let others = writes.len() - 2 * moved;
        println!("{what}: {} writes, {moved} slots of 65536", writes.len());
        assert!(others <= 3, "{what}: {others} other writes");
        // Its own part of the ring is a thousandth; the rest is what Maglev disturbs.
        assert!((60..700).contains(&moved), "{what}: {moved} slots");
    }
}

/// The backends of the only service, by instance number, and what each does.
fn conditions(course: &Course, served: &Topology) -> Vec<(usize, Condition)> {
    let service = &served.load_balancers[0];
    (service.backends.iter())
        .map(|backend| {
            let id = BackendId::served(served, service.into(), backend);
            (backend.instance.instance, course.condition(&id))
        })
        .collect()
}

#[test]
fn a_backend_that_was_removed_leaves_when_it_is_quiet() {
    use Condition::{Leaving, Serving};
    let both = site(3, [(0, 1), (1, 1)].into_iter());
    let one = site(3, [(0, 1)].into_iter());
    let (course, served) = Course::default().follow(&both, clock(0));
    let before = computed(&course, &served);
    let (mut course, served) = course.follow(&one, clock(100));
    assert_eq!(conditions(&course, &served), [(0, Serving), (1, Leaving)]);
    let during = computed(&course, &served);
    assert!(during.ring.iter().any(|&word| RingSlot(word).is_tracked()));
    assert_eq!(during.backends[..], before.backends[..], "records stay");
    assert_eq!(during.reverse, before.reverse, "answers are translated");

    // Packets come, then no more.
    assert!(!course.observe(&served, |_| 1, |_| 7, 130));
    assert!(!course.observe(&served, |_| 2, |_| 9, 150));
    assert!(!course.observe(&served, |_| 2, |_| 9, 209));
    assert!(course.observe(&served, |_| 2, |_| 9, 210));
    let (course, served) = course.follow(&one, clock(210));
    assert_eq!(conditions(&course, &served), [(0, Serving)]);
    let after = computed(&course, &served);
    // Where the ring was, its content rests for packets that are about to read it.
    let service = &served.load_balancers[0];
    assert_eq!(course.rings.tracked(&service.into()), 0);
    assert_eq!((after.reverse.len(), after.endpoints.len()), (1, 2));
    let labels = after.labels.iter().filter(|label| **label != Label::None);
    assert_eq!(labels.count(), 1);
}

#[test]
fn a_backend_whose_instance_is_gone_has_no_flows() {
    let both = site(2, [(0, 1), (1, 1)].into_iter());
    let (course, served) = Course::default().follow(&both, clock(0));
    let before = computed(&course, &served);
    let index = |tables: &Tables| RingSlot(tables.ring[0]).current();
    assert_ne!(index(&before), 0);
    let (course, served) = course.follow(&site(1, [(0, 1)].into_iter()), clock(9));
    assert_eq!(conditions(&course, &served), [(0, Condition::Serving)]);
    let after = computed(&course, &served);
    assert!(
        !after.ring.iter().any(|&word| RingSlot(word).is_tracked()),
        "its slots move at once, and those that it had not are the other's already"
    );
}

/// Tables depend on the topology alone once everything is quiet, whatever was before.
#[test]
fn what_was_leaves_no_trace() {
    let wanted = site(8, (0..3).map(|number| (number, 1 + number as u16)));
    let mut course = Course::default();
    for (seconds, count) in [(0, 8), (10, 2), (20, 1), (30, 6)] {
        let other = site(8, (0..count).map(|number| (number, 1)));
        (course, _) = course.follow(&other, clock(seconds));
    }
    let mut served;
    (course, served) = course.follow(&wanted, clock(40));
    for seconds in [100, 200, 300] {
        course.observe(&served, |_| 0, |_| 0, seconds);
        (course, served) = course.follow(&wanted, clock(seconds));
    }
    let (fresh, fresh_served) = Course::fresh(&wanted);
    assert_eq!(served, fresh_served);
    let ring = |course: &Course, served: &Topology| -> Vec<usize> {
        let tables = computed(course, served);
        let service = &served.load_balancers[0];
        let members: Vec<_> = (service.backends.iter())
            .map(|backend| course.backend(&BackendId::served(served, service.into(), backend)))
            .collect();
        let endpoint = course.rings.endpoint(&service.into());
        let first = endpoint.index() as usize;
        (tables.ring[first..first + endpoint.slots() as usize].iter())
            .map(|&word| {
                assert_eq!(RingSlot(word), RingSlot::settled(RingSlot(word).current()));
                let current = RingSlot(word).current();
                members.iter().position(|&index| index == current).unwrap()
            })
            .collect()
    };
    assert_eq!(ring(&course, &served), ring(&fresh, &fresh_served));
}

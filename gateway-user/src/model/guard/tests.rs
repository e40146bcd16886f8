use super::*;

fn net(text: &str) -> IpNet {
    text.parse().expect("a range")
}

#[test]
fn a_prefix_hints_at_every_source_in_it_and_few_others() {
    let v4 = |a: u8, b: u8| usize::from(u16::from_ne_bytes([a, b]));
    let v6 = |c: u8, d: u8| (1 << 16) + v4(c, d);
    let found = |text| places(&net(text)).collect::<Vec<_>>();
    assert_eq!(found("192.0.2.7/32"), [v4(192, 0)]);
    assert_eq!(found("198.18.0.0/15"), [v4(198, 18), v4(198, 19)]);
    assert_eq!(found("0.0.0.0/0").len(), 1 << 16);
    assert_eq!(found("2001:db8::/32"), [v6(0x0d, 0xb8)]);
    assert_eq!(found("2001:db8:1::1/128"), [v6(0x0d, 0xb8)]);
    assert_eq!(found("3fff::/20").len(), 1 << 12);
    assert_eq!(found("2000::/3").len(), 1 << 16);
    // Looked up without a hint.
    assert_eq!(found("fe80::/10").len(), 0);
    assert_eq!(found("ff00::/8").len(), 0);
}

#[test]
fn the_known_ranges_are_written_right() {
    for text in MARTIANS.iter().chain(PRIVATE) {
        assert_eq!(net(text), net(text).trunc(), "{text}");
    }
}

#[test]
fn a_rate_costs_its_share_of_its_period() {
    let rate = |count, seconds| limit(Rate { count, seconds }, 250);
    assert_eq!(rate(1, 1).cost, 250 << POINT);
    assert_eq!(rate(100, 1).cost * 100, 250 << POINT);
    assert_eq!(rate(5, 3_600).burst, (250 * 3_600) << POINT);
    let fast = rate(10_000_000, 1);
    let exact = (250_u64 << POINT) as f64 / 1e7;
    assert!((fast.cost as f64 / exact - 1.0).abs() < 0.003, "{fast:?}");
    assert_eq!(rate(u32::MAX, 1).cost, 1, "no rate is no limit by rounding");
}

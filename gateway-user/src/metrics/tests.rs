use super::*;
use crate::status::tests::sample;

#[test]
fn samples_carry_labels_and_whole_numbers() {
    let text = render(sample());
    for line in [
        "lingyun_load_balancer_packets_total{load_balancer=\"orders\",vip=\"203.0.113.10\",\
         protocol=\"tcp\",port=\"443\",direction=\"in\"} 123457789",
        "lingyun_backend_bytes_total{load_balancer=\"orders\",vpc=\"shop\",\
         instance=\"haproxy-2\",address=\"172.16.1.12\",port=\"443\",direction=\"out\"} \
         123333332211",
        "lingyun_floating_ip_packets_total{ip=\"203.0.113.20\",vpc=\"shop\",\
         instance=\"bastion\",direction=\"in\"} 7",
        "lingyun_reason_packets_total{reason=\"no_reverse\",outcome=\"dropped\"} 12",
        "lingyun_next_hop_usable{kind=\"uplink\",towards=\"public\",interface=\"public\",\
         address=\"192.0.2.9\"} 1.0",
        "lingyun_announced_prefixes{table=\"100\"} 2.0",
        "lingyun_table_update_seconds_total 0.5",
        "lingyun_ready 0.0",
        "lingyun_snat_packets_total{pool=\"out\",ip=\"203.0.113.40\",direction=\"out\"} 99",
        "lingyun_snat_ports{pool=\"out\",ip=\"203.0.113.40\",protocol=\"tcp\",state=\"used\"} \
         12000.0",
        "lingyun_snat_ports_high{pool=\"out\",ip=\"203.0.113.40\",protocol=\"tcp\"} 1.0",
        "lingyun_snat_ports_high{pool=\"out\",ip=\"203.0.113.40\",protocol=\"udp\"} 0.0",
        "lingyun_snat_tenant_ports{pool=\"out\",vpc=\"shop\"} 14050.0",
        "lingyun_snat_tenant_quota{pool=\"out\",vpc=\"shop\"} 4000.0",
        "lingyun_snat_dropped_packets_total{pool=\"out\",vpc=\"shop\",\
         reason=\"snat_exhausted\"} 17",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line} in\n{text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_family_has_help_and_a_name_of_ours() {
    let text = render(sample());
    let (mut helps, mut types) = (0, 0);
    for line in text
        .lines()
        .filter(|line| line.starts_with("# ") && *line != "# EOF")
    {
        let mut words = line.splitn(4, ' ').skip(1);
        let (kind, name) = (words.next().unwrap(), words.next().unwrap());
        assert!(
            name.starts_with("lingyun_") && !name.ends_with("_total"),
            "{line}"
        );
        helps += usize::from(kind == "HELP");
        types += usize::from(kind == "TYPE");
    }
    assert!(helps > 10 && helps == types, "{helps} helps, {types} types");
}

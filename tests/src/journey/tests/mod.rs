//! The right journey passes; each thing that can be wrong fails its claim.

mod encode;
mod faults;
mod site;

use site::{Way, expectation, mac};

use super::{Change, Claim, Hop, Journey, Macs, render_claims, trace};
use crate::capture::{Frame, State};

fn journey(frames: &[Frame]) -> Journey {
    trace(frames, &expectation()).expect("there is a connection to follow")
}

fn failed(claims: &[Claim]) -> Vec<String> {
    let text = |claim: &Claim| {
        let hop = claim
            .hop
            .map_or_else(|| "-".to_owned(), |hop| hop.to_string());
        format!("{hop} {}: {}", claim.claim, claim.seen)
    };
    claims.iter().filter(|claim| !claim.ok).map(text).collect()
}

#[test]
fn the_right_journey_passes() {
    let journey = journey(&Way::right().frames());
    assert_eq!(failed(&journey.check()), [""; 0]);
    let hops: String = journey
        .request
        .iter()
        .map(|row| row.hop.to_string())
        .collect();
    assert_eq!(hops, "ffghiijkkkl");
    let hops: String = journey
        .answer
        .iter()
        .map(|row| row.hop.to_string())
        .collect();
    assert_eq!(hops, "l'k'k'k'j'i'i'h'g'f'f'");
    let hops: String = journey
        .database
        .iter()
        .map(|row| row.hop.to_string())
        .collect();
    assert_eq!(hops, "mm'");
    // The request and not the Finished before it; the answer and not the ticket.
    assert_eq!(journey.request_is, "a TLS record of 417 bytes");
    assert_eq!(
        journey.answer_is.as_deref(),
        Some("a TLS record of 265 bytes")
    );
    let g = journey
        .request
        .iter()
        .find(|row| row.hop == Hop::there('g'))
        .expect("g");
    assert_eq!(
        g.changes,
        [Change::SourceMac, Change::DestinationMac, Change::Ttl]
    );
    let h = journey
        .request
        .iter()
        .find(|row| row.hop == Hop::there('h'))
        .expect("h");
    let translated = [
        Change::SourceMac,
        Change::DestinationMac,
        Change::Destination,
        Change::Ttl,
    ];
    assert_eq!(h.changes, translated);
    let l = journey.request.last().expect("l");
    assert_eq!(l.changes, [Change::Unwrapped]);
    let seen: Vec<_> = l
        .seen
        .iter()
        .map(|sighting| sighting.point.to_string())
        .collect();
    assert_eq!(
        seen,
        ["host-b:vxlan", "host-b:controller-1", "controller-1:eth0"]
    );
}

#[test]
fn a_wrong_checksum_anywhere_is_found() {
    let right = Way::right().frames();
    for index in 0..right.len() {
        // Flips a bit of the last byte, the TCP checksum's last word, or none.
        let mut frames = right.clone();
        let frame = &mut frames[index];
        let last = frame.bytes.len() - 1;
        frame.bytes[last] ^= 1;
        let journey = journey(&frames);
        assert_eq!(
            journey.checksums.wrong.len(),
            1,
            "frame {index} at {}",
            right[index].point
        );
        assert!(!failed(&journey.check()).is_empty());
        assert_eq!(journey.checksums.right, right.len() - 1);
    }
}

#[test]
fn each_kind_of_checksum_is_computed_again() {
    // In a tunnel: outer IP, outer UDP, inner IP and inner TCP.
    for (offset, word) in [
        (24, "outer IP"),
        (40, "outer UDP"),
        (74, "inner IP"),
        (100, "TCP"),
    ] {
        let mut frames = Way::right().frames();
        let frame = frames
            .iter_mut()
            .find(|f| f.point.to_string() == "spine:gw1")
            .expect("i");
        frame.bytes[offset] ^= 0x10;
        let wrong = journey(&frames).checksums.wrong.join("\n");
        assert!(wrong.contains(word), "{word}: {wrong}");
    }
    // No UDP checksum at all is right in VXLAN.
    let mut frames = Way::right().frames();
    let frame = frames
        .iter_mut()
        .find(|f| f.point.to_string() == "spine:gw1")
        .expect("i");
    frame.bytes[40..42].fill(0);
    assert_eq!(journey(&frames).checksums.wrong, [""; 0]);
}

#[test]
fn joined_frames_have_no_checksum_and_offloaded_ones_say_so() {
    let mut frames = Way::right().frames();
    let last = frames.len() - 1;
    let end = frames[last].bytes.len() - 1;
    frames[last].bytes[end] ^= 1;
    frames[last].state = State::Joined;
    let joined = journey(&frames);
    assert_eq!(
        (joined.checksums.joined, joined.checksums.wrong.len()),
        (1, 0)
    );
    frames[last].state = State::NoChecksum;
    let wrong = journey(&frames).checksums.wrong.join("\n");
    assert!(wrong.contains("ethtool -K"), "{wrong}");
}

#[test]
fn a_packet_that_gets_lost_gives_the_rows_up_to_there() {
    let mut way = Way::right();
    way.steps
        .retain(|step| ["f", "f2", "g"].contains(&step.hop));
    let journey = journey(&way.frames());
    let hops: String = journey
        .request
        .iter()
        .map(|row| row.hop.to_string())
        .collect();
    assert_eq!((hops.as_str(), journey.answer.len()), ("ffg", 0));
    let failed = failed(&journey.check());
    assert!(
        failed.iter().any(|claim| claim.starts_with("i ")),
        "{failed:#?}"
    );
    assert!(
        !failed.iter().any(|claim| claim.starts_with("f ")),
        "{failed:#?}"
    );
    assert!(
        journey
            .render(100, false)
            .contains("THE ANSWER  none was seen")
    );
}

#[test]
fn without_data_the_handshake_is_followed() {
    let mut way = Way::right();
    way.steps.retain(|step| step.is_syn);
    let journey = journey(&way.frames());
    let hops: String = journey
        .request
        .iter()
        .map(|row| row.hop.to_string())
        .collect();
    assert_eq!(hops, "ffghiij");
    assert!(journey.request_is.contains("SYN"), "{}", journey.request_is);
}

#[test]
fn segments_that_are_sent_again_add_no_rows() {
    let mut way = Way::right();
    let again: Vec<_> = way
        .steps
        .iter()
        .filter(|s| ["f", "i"].contains(&s.hop))
        .cloned()
        .collect();
    way.steps.extend(again);
    let journey = journey(&way.frames());
    assert_eq!(failed(&journey.check()), [""; 0]);
    assert_eq!(journey.request.len(), 11);
}

#[test]
fn another_connection_is_not_followed() {
    let mut frames = Way::right().frames();
    let mut other = Way::right();
    for step in &mut other.steps {
        for end in [&mut step.headers.source, &mut step.headers.destination] {
            // The ends that a system chose anew for this connection.
            if [40312, 51888, 38110].contains(&end.port()) {
                end.set_port(end.port() + 1);
            }
        }
        step.payload.iter_mut().for_each(|byte| *byte ^= 0x55);
        step.headers.macs = Macs {
            source: mac("phone:radio"),
            destination: mac("phone:radio"),
        };
        step.sequence += 77;
    }
    frames.extend(other.frames());
    assert_eq!(failed(&journey(&frames).check()), [""; 0]);
}

#[test]
fn nothing_to_follow_is_an_error_that_says_what_was_looked_for() {
    let error = trace(&[], &expectation())
        .expect_err("no frames")
        .to_string();
    assert!(
        error.contains("198.51.100.10") && error.contains("203.0.113.10:443"),
        "{error}"
    );
}

#[test]
fn the_table_fits_and_marks_what_changed() {
    let journey = journey(&Way::right().frames());
    let plain = journey.render(110, false);
    let widest = plain.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(110), "{widest:?}\n{plain}");
    assert!(plain.contains("*172.16.1.11:443"), "{plain}");
    assert!(
        plain.contains("198.51.100.10:40312 → *172.16.1.11:443"),
        "{plain}"
    );
    assert!(plain.contains("border:gw1 → (gw1:public)"), "{plain}");
    assert!(plain.contains("(gw1:underlay) → spine:gw1"), "{plain}");
    assert!(plain.contains("VXLAN 5001"), "{plain}");
    let narrow = journey.render(80, false);
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );

    let coloured = journey.render(110, true);
    let stripped = anstream::adapter::strip_str(&coloured).to_string();
    assert!(
        coloured.contains("\u{1b}[") && !stripped.contains("*172"),
        "{coloured}"
    );
    let claims = journey.check();
    assert!(render_claims(&claims, 110, false).contains("claims of the story hold"));
    let json = serde_json::to_value(&journey).expect("JSON");
    assert_eq!(json["request"][0]["hop"], "f");
    assert_eq!(json["request"][0]["seen"][0]["point"], "phone:radio");
    assert_eq!(json["answer"][0]["hop"], "l'");
}

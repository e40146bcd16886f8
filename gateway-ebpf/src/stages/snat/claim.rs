//! New mappings. CPUs need no lock for them: a slot belongs to whoever swaps its state
//! from free to claimed.

use gateway_common::{Instance, Reason, SNAT_SLOTS, SnatBucket, SnatClass, SnatOwner, SnatState};

use super::{
    place::{Place, Probe, Region},
    state, tick,
};
use crate::{
    atomic,
    packet::{Exit, Tables},
};

/// Gives a port to an instance's port that has none.
///
/// Two CPUs with packets of one new mapping try the same slots in the same order. The
/// one that comes second finds the first one's owner there and shares the mapping; in
/// the nanoseconds before that owner is written it takes the next slot, and its
/// packet's flow has a mapping of its own until that expires: the earlier slot is the
/// one that later packets find. Both ports lead back to the same instance.
///
/// `expired` is where the owner's earlier mapping lies: it is renewed in its place, as
/// that is the one that packets find.
#[inline(always)]
pub(super) fn claim<T: Tables>(
    tables: &T,
    region: &Region<'_>,
    instance: &Instance,
    (owner, expired): (SnatOwner, Place),
    tcp_flags: u8,
) -> Result<Place, Exit> {
    // Nobody waits for an answer to a reset (RFC 9293, section 3.10.7).
    if matches!(region.class, SnatClass::Tcp) && tcp_flags & state::RST != 0 {
        return Err(Reason::SnatNoMapping.into());
    }
    let account = tables
        .snat_account(instance.snat_account)
        .ok_or(Reason::Internal)?;
    let new = Slot {
        owner,
        phase: state::first(region.class),
        now: tick(tables),
        account: instance.snat_account,
    };
    // Counted first, so that CPUs cannot overdraw the quota together.
    let before = atomic::add(&account.used, 1);
    let mut taken = Taken::Nothing;
    if !expired.is_none() {
        taken = new.take(tables, region, expired)?;
    }
    if matches!(taken, Taken::Nothing) {
        let quota = atomic::load(&account.quota);
        if quota != 0 && before >= quota {
            atomic::subtract(&account.used, 1);
            let _ = atomic::add(&account.over_quota, 1);
            return Err(Reason::SnatQuota.into());
        }
        taken = new.probe(tables, region)?;
    }
    if !matches!(taken, Taken::New(_)) {
        atomic::subtract(&account.used, 1);
    }
    match taken {
        Taken::New(place) | Taken::Shared(place) => Ok(place),
        Taken::Nothing => {
            let _ = atomic::add(&account.exhausted, 1);
            Err(Reason::SnatExhausted.into())
        }
    }
}

/// What became of a try.
#[derive(Clone, Copy)]
enum Taken {
    Nothing,
    New(Place),
    /// It is there already: another CPU was faster.
    Shared(Place),
}

/// What goes into a slot.
struct Slot {
    owner: SnatOwner,
    phase: u8,
    now: u32,
    account: u32,
}

impl Slot {
    /// Takes the first free slot: of those that keep the parity (RFC 4787, REQ-4), or
    /// else of all.
    #[inline(always)]
    fn probe<T: Tables>(&self, tables: &T, region: &Region<'_>) -> Result<Taken, Reason> {
        const SLOTS: u32 = SNAT_SLOTS as u32;
        let odd = u16::from_be(self.owner.port()) as u32 & 1;
        // Parity first, then what is left: half of all slots each.
        let mut pass = 0;
        while pass < 2 {
            let mut probe = Probe::new(tables, self.owner, region.class);
            let mut round = 0;
            while round < Probe::FULL {
                let bucket = region.bucket(&mut probe);
                let mut slot = odd ^ pass;
                while slot < SLOTS {
                    let taken = self.take(tables, region, Place::new(bucket, slot))?;
                    if !matches!(taken, Taken::Nothing) {
                        return Ok(taken);
                    }
                    slot += 2;
                }
                round += 1;
            }
            pass += 1;
        }
        Ok(Taken::Nothing)
    }

    #[inline(always)]
    fn take<T: Tables>(
        &self,
        tables: &T,
        region: &Region<'_>,
        place: Place,
    ) -> Result<Taken, Reason> {
        let ports: &SnatBucket = tables.snat_ports(place.bucket).ok_or(Reason::Internal)?;
        let slot = place.slot();
        let (owner_word, state_word) = (&ports.owners[slot], &ports.states[slot]);
        let old = atomic::load(state_word);
        let (state, owner) = (SnatState(old), SnatOwner(atomic::load(owner_word)));
        let was = (owner, state);
        if !state::is_free(region.shared, region.class, was, self.owner, self.now) {
            return Ok(self.shared(owner, place));
        }
        let claimed = SnatState::new(SnatState::CLAIMED, self.now, self.account);
        if !atomic::replace(state_word, old, claimed.0) {
            return Ok(self.shared(SnatOwner(atomic::load(owner_word)), place));
        }
        atomic::store(owner_word, self.owner.0);
        let fresh = SnatState::new(self.phase, self.now, self.account);
        atomic::store(state_word, fresh.0);
        if state.phase() != SnatState::FREE
            && let Some(before) = tables.snat_account(state.account())
        {
            atomic::subtract(&before.used, 1);
        }
        Ok(Taken::New(place))
    }

    /// A slot that is in use: the owner's own, if another CPU was faster.
    #[inline(always)]
    fn shared(&self, found: SnatOwner, place: Place) -> Taken {
        match found == self.owner {
            true => Taken::Shared(place),
            false => Taken::Nothing,
        }
    }
}

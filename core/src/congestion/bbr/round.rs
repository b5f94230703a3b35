//! Counting round trips by what was delivered (draft-ietf-ccwg-bbr, section 5.5.1).

/// A round ends when a packet sent after its beginning is acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundCounter {
    count: u64,
    end_delivered: u64,
    started: bool,
}

impl RoundCounter {
    /// Takes the delivery count at which the acknowledged packet was sent, and the present one.
    pub(super) fn on_ack(&mut self, prior_delivered: u64, delivered: u64) {
        self.started = prior_delivered >= self.end_delivered;
        if self.started {
            self.count += 1;
            self.end_delivered = delivered;
        }
    }

    /// An acknowledgement without a rate sample begins no round.
    pub(super) fn no_sample(&mut self) {
        self.started = false;
    }

    /// Lets the next round begin only with packets sent from now on.
    pub(super) fn restart(&mut self, delivered: u64) {
        self.end_delivered = delivered;
    }

    /// Whether the latest acknowledgement began a round.
    pub(super) const fn started(&self) -> bool {
        self.started
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_end_with_the_first_packet_sent_within_them() {
        let mut round = RoundCounter::default();
        round.on_ack(0, 10);
        assert!(round.started());
        round.on_ack(5, 20);
        assert!(!round.started());
        round.on_ack(10, 30);
        assert!(round.started());
        round.restart(40);
        round.on_ack(39, 50);
        assert!(!round.started());
        assert_eq!(round.count(), 2);
    }

    #[test]
    fn rounds_go_on_beyond_four_gigabytes() {
        let mut round = RoundCounter::default();
        let step = 1_u64 << 31;
        for number in 0..8 {
            round.on_ack(number * step, (number + 1) * step);
            assert_eq!(round.count(), number + 1);
        }
    }
}

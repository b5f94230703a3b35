//! Which source an event belongs to.

use mio::Token;

use crate::path::Direction;

/// A source of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The UDP socket that clients send to.
    UdpListener,
    /// The TCP socket that clients connect to.
    TcpListener,
    /// The timer.
    Timer,
    /// A command from another thread.
    Waker,
    /// A signal.
    Signals,
    /// The device of a link at the end where packets of that direction come in.
    Device(Direction),
    /// A UDP client's socket towards the upstream.
    Flow(Slot),
    /// A TCP client's connection.
    Client(Slot),
    /// The same client's connection to the upstream.
    Upstream(Slot),
}

/// A place in a slab, and which of its successive tenants is meant: an event or packet of one that has
/// gone never reaches the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) key: u32,
    pub(crate) generation: u32,
}

impl Slot {
    pub(crate) fn index(self) -> usize {
        self.key as usize
    }
}

/// Bits of a token that tell the kind of source.
const KIND_BITS: u32 = 3;
/// Bits of a token that tell the place in the slab; the rest is the generation.
pub(crate) const KEY_BITS: u32 = 16;
/// Generations wrap so that they fit a token on 32-bit machines too.
const GENERATION_MASK: u32 = (1 << (32 - KEY_BITS - KIND_BITS)) - 1;

/// Counts generations.
#[derive(Debug, Default)]
pub(crate) struct Generations(u32);

impl Generations {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = (self.0 + 1) & GENERATION_MASK;
        self.0
    }
}

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        let of = |kind: usize, slot: Slot| {
            let key = slot.index() << KIND_BITS;
            let generation = (slot.generation as usize) << (KIND_BITS + KEY_BITS);
            kind | key | generation
        };
        let fixed = |number| {
            of(
                0,
                Slot {
                    key: number,
                    generation: 0,
                },
            )
        };
        Self(match source {
            Source::UdpListener => fixed(0),
            Source::TcpListener => fixed(1),
            Source::Timer => fixed(2),
            Source::Waker => fixed(3),
            Source::Signals => fixed(4),
            Source::Device(Direction::Up) => fixed(5),
            Source::Device(Direction::Down) => fixed(6),
            Source::Flow(slot) => of(1, slot),
            Source::Client(slot) => of(2, slot),
            Source::Upstream(slot) => of(3, slot),
        })
    }
}

impl TryFrom<Token> for Source {
    type Error = ();

    fn try_from(token: Token) -> Result<Self, ()> {
        let field = |shift: u32, bits: u32| {
            u32::try_from((token.0 >> shift) & ((1 << bits) - 1)).map_err(|_| ())
        };
        let slot = Slot {
            key: field(KIND_BITS, KEY_BITS)?,
            generation: field(KIND_BITS + KEY_BITS, 32 - KEY_BITS - KIND_BITS)?,
        };
        Ok(match (field(0, KIND_BITS)?, slot.key) {
            (0, 0) => Self::UdpListener,
            (0, 1) => Self::TcpListener,
            (0, 2) => Self::Timer,
            (0, 3) => Self::Waker,
            (0, 4) => Self::Signals,
            (0, 5) => Self::Device(Direction::Up),
            (0, 6) => Self::Device(Direction::Down),
            (1, _) => Self::Flow(slot),
            (2, _) => Self::Client(slot),
            (3, _) => Self::Upstream(slot),
            _ => return Err(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_the_way_through_a_token() {
        let slot = Slot {
            key: 65_535,
            generation: GENERATION_MASK,
        };
        let other = Slot {
            key: 0,
            generation: 0,
        };
        for source in [
            Source::UdpListener,
            Source::TcpListener,
            Source::Timer,
            Source::Waker,
            Source::Signals,
            Source::Device(Direction::Up),
            Source::Device(Direction::Down),
            Source::Flow(slot),
            Source::Client(slot),
            Source::Upstream(slot),
            Source::Flow(other),
        ] {
            assert_eq!(Source::try_from(Token::from(source)), Ok(source));
        }
        assert_eq!(Source::try_from(Token(7)), Err(()));
    }

    #[test]
    fn generations_wrap_within_their_bits() {
        let mut generations = Generations(GENERATION_MASK);
        assert_eq!(generations.next(), 0);
    }
}

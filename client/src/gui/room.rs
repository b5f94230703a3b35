//! How much room a window has, and what finds no place in a small one.

use iced::Size;

/// The size of a window as it is laid out: its pixels divided by the zoom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(pub(super) Size);

impl Room {
    /// Files stand beside the talk, not in its place.
    pub(super) const fn has_files_beside(self) -> bool {
        self.0.width >= 860.0
    }

    /// People stand beside the talk, buttons have all their words, and downloads their plots.
    pub(super) const fn is_wide(self) -> bool {
        self.0.width >= 640.0
    }

    /// Talk and downloads fit above each other.
    pub(super) const fn is_high(self) -> bool {
        self.0.height >= 400.0
    }

    /// How high the downloads are.
    pub(super) const fn downloads(self) -> f32 {
        (self.0.height * 0.42).clamp(120.0, 300.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_window_holds_all_and_one_at_twice_the_size_the_talk() {
        let room = Room(Size::new(1100.0, 720.0));
        assert!(room.has_files_beside() && room.is_wide() && room.is_high());
        let room = Room(Size::new(550.0, 360.0));
        assert!(!room.has_files_beside() && !room.is_wide() && !room.is_high());
    }
}

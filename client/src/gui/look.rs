//! Colours, sizes and styles: the only place that knows what anything looks like.
//!
//! A [`Look`] holds the colours of one theme by what they are for. Views take it along and hand its
//! methods to the widgets as styles. State is never told by colour alone: words or icons stand beside.

use iced::border::Radius;
use iced::widget::{button, container, progress_bar, rule, scrollable, text_editor, text_input};
use iced::{Background, Border, Color, Font, Shadow, Theme, color, font};

/// The font of all text.
pub(super) const FONT: Font = Font::with_name("Inter");
/// The font of what stands out.
pub(super) const BOLD: Font = Font {
    weight: font::Weight::Semibold,
    ..FONT
};

/// Sizes of text, in logical pixels.
pub(super) mod size {
    /// Names of screens.
    pub(in crate::gui) const TITLE: f32 = 22.0;
    /// Names of dialogs and panes.
    pub(in crate::gui) const HEADING: f32 = 15.0;
    /// Most text.
    pub(in crate::gui) const BODY: f32 = 14.0;
    /// What stands beside: times, figures.
    pub(in crate::gui) const SMALL: f32 = 12.0;
    /// Names of groups and axes.
    pub(in crate::gui) const TINY: f32 = 11.0;
}

/// Corners of buttons and fields.
const CORNER: f32 = 7.0;
/// Corners of cards and dialogs.
const CARD_CORNER: f32 = 12.0;

/// The colours of one theme, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    name: &'static str,
    /// Behind what is read.
    pub(super) ground: Color,
    /// Behind lists at the sides.
    pub(super) panel: Color,
    /// Behind cards and dialogs.
    pub(super) raised: Color,
    /// Inside fields.
    pub(super) field: Color,
    /// Under the mouse.
    pub(super) hover: Color,
    /// Lines between things.
    pub(super) line: Color,
    /// Around fields and buttons.
    pub(super) edge: Color,
    /// What is read.
    pub(super) text: Color,
    /// What stands beside.
    pub(super) muted: Color,
    /// What acts.
    pub(super) accent: Color,
    /// Upon what acts.
    pub(super) on_accent: Color,
    /// Behind what is chosen.
    pub(super) accent_soft: Color,
    /// What went well.
    pub(super) good: Color,
    /// Behind what went well.
    pub(super) good_soft: Color,
    /// What needs care.
    pub(super) warn: Color,
    /// Behind what needs care.
    pub(super) warn_soft: Color,
    /// What went wrong.
    pub(super) bad: Color,
    /// Behind what went wrong.
    pub(super) bad_soft: Color,
    /// Whispers.
    pub(super) whisper: Color,
    /// Behind whispers.
    pub(super) whisper_soft: Color,
    /// Width of lines.
    line_width: f32,
    shade: Color,
}

/// Dark text on white.
pub(super) const LIGHT: Look = Look {
    name: "Columba light",
    ground: color!(0xffffff),
    panel: color!(0xf4f6f9),
    raised: color!(0xffffff),
    field: color!(0xffffff),
    hover: color!(0xe9edf3),
    line: color!(0xe1e5eb),
    edge: color!(0xc6cdd8),
    text: color!(0x1a1e25),
    muted: color!(0x5a6472),
    accent: color!(0x2459cf),
    on_accent: color!(0xffffff),
    accent_soft: color!(0xe4edfd),
    good: color!(0x17734a),
    good_soft: color!(0xe0f4e8),
    warn: color!(0x875300),
    warn_soft: color!(0xfdf1d8),
    bad: color!(0xb3232c),
    bad_soft: color!(0xfdeaea),
    whisper: color!(0x7339ac),
    whisper_soft: color!(0xf4edfb),
    line_width: 1.0,
    shade: Color::from_rgba(0.08, 0.11, 0.17, 0.42),
};

/// Light text on near black.
pub(super) const DARK: Look = Look {
    name: "Columba dark",
    ground: color!(0x15181e),
    panel: color!(0x1b1f27),
    raised: color!(0x20252e),
    field: color!(0x12151a),
    hover: color!(0x2a303b),
    line: color!(0x2b313c),
    edge: color!(0x434c5b),
    text: color!(0xe7eaf0),
    muted: color!(0x9da7b6),
    accent: color!(0x6ba3ff),
    on_accent: color!(0x081326),
    accent_soft: color!(0x1f3050),
    good: color!(0x5bcf98),
    good_soft: color!(0x16322a),
    warn: color!(0xf0b95a),
    warn_soft: color!(0x382c17),
    bad: color!(0xff8686),
    bad_soft: color!(0x3d2226),
    whisper: color!(0xc9a0f5),
    whisper_soft: color!(0x2d2340),
    line_width: 1.0,
    shade: Color::from_rgba(0.0, 0.0, 0.0, 0.58),
};

/// White and yellow on black, thick lines.
pub(super) const HIGH_CONTRAST: Look = Look {
    name: "Columba high contrast",
    ground: color!(0x000000),
    panel: color!(0x000000),
    raised: color!(0x000000),
    field: color!(0x000000),
    hover: color!(0x333333),
    line: color!(0xffffff),
    edge: color!(0xffffff),
    text: color!(0xffffff),
    muted: color!(0xe6e6e6),
    accent: color!(0xffe100),
    on_accent: color!(0x000000),
    accent_soft: color!(0x3d3600),
    good: color!(0x6dffa8),
    good_soft: color!(0x002d14),
    warn: color!(0xffc94d),
    warn_soft: color!(0x332200),
    bad: color!(0xffa3a3),
    bad_soft: color!(0x440000),
    whisper: color!(0xe3c2ff),
    whisper_soft: color!(0x2a0046),
    line_width: 2.0,
    shade: Color::from_rgba(0.0, 0.0, 0.0, 0.8),
};

/// What a button is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The one that most people want.
    Primary,
    /// Any other.
    Plain,
    /// Without a frame, in toolbars and lists.
    Quiet,
    /// It takes something away.
    Danger,
}

impl Look {
    /// The theme for widgets that style themselves.
    pub(super) fn theme(&self) -> Theme {
        let palette = iced::theme::Palette {
            background: self.ground,
            text: self.text,
            primary: self.accent,
            success: self.good,
            warning: self.warn,
            danger: self.bad,
        };
        Theme::custom(self.name, palette)
    }

    const fn border(&self, color: Color, radius: f32) -> Border {
        Border {
            color,
            width: self.line_width,
            radius: same(radius),
        }
    }

    /// A button.
    pub(super) fn button(&self, kind: Kind, status: button::Status) -> button::Style {
        let (ground, text, edge) = match kind {
            Kind::Primary => (Some(self.accent), self.on_accent, Some(self.accent)),
            Kind::Plain => (Some(self.raised), self.text, Some(self.edge)),
            Kind::Quiet => (None, self.text, None),
            Kind::Danger => (Some(self.raised), self.bad, Some(self.bad)),
        };
        let ground = match (status, kind) {
            (button::Status::Hovered | button::Status::Pressed, Kind::Primary) => {
                ground.map(|ground| mix(ground, self.text, 0.14))
            }
            (button::Status::Hovered, _) => Some(self.hover),
            (button::Status::Pressed, _) => Some(mix(self.hover, self.text, 0.1)),
            (button::Status::Active | button::Status::Disabled, _) => ground,
        };
        let faded = status == button::Status::Disabled;
        let fade = |color: Color| {
            if faded {
                mix(color, self.ground, 0.5)
            } else {
                color
            }
        };
        button::Style {
            background: ground.map(fade).map(Background::Color),
            text_color: fade(text),
            border: self.border(edge.map_or(Color::TRANSPARENT, fade), CORNER),
            shadow: Shadow::default(),
            snap: true,
        }
    }

    /// A row of a list that can be chosen.
    pub(super) fn choice(&self, chosen: bool, status: button::Status) -> button::Style {
        let ground = match status {
            _ if chosen => Some(self.accent_soft),
            button::Status::Hovered | button::Status::Pressed => Some(self.hover),
            button::Status::Active | button::Status::Disabled => None,
        };
        let edge = if chosen && self.line_width > 1.0 {
            self.accent
        } else {
            Color::TRANSPARENT
        };
        button::Style {
            background: ground.map(Background::Color),
            text_color: self.text,
            border: self.border(edge, CORNER),
            shadow: Shadow::default(),
            snap: true,
        }
    }

    /// A text that can be clicked.
    pub(super) fn link(&self, status: button::Status) -> button::Style {
        let strong = matches!(status, button::Status::Hovered | button::Status::Pressed);
        let color = if strong {
            mix(self.accent, self.text, 0.35)
        } else {
            self.accent
        };
        button::Style {
            background: None,
            text_color: color,
            ..button::Style::default()
        }
    }

    /// A field; `wrong` when an error stands next to it.
    pub(super) fn input(&self, wrong: bool, status: text_input::Status) -> text_input::Style {
        let focused = matches!(status, text_input::Status::Focused { .. });
        let edge = match (wrong, focused) {
            (true, _) => self.bad,
            (false, true) => self.accent,
            (false, false) => self.edge,
        };
        let mut border = self.border(edge, CORNER);
        if focused || wrong {
            border.width = self.line_width + 0.5;
        }
        text_input::Style {
            background: Background::Color(self.field),
            border,
            icon: self.muted,
            placeholder: mix(self.muted, self.field, 0.25),
            value: self.text,
            selection: mix(self.accent, self.field, 0.6),
        }
    }

    /// The line being typed; `edge` while it has the keyboard.
    pub(super) fn editor(&self, edge: Color, status: text_editor::Status) -> text_editor::Style {
        let focused = matches!(status, text_editor::Status::Focused { .. });
        let mut border = self.border(if focused { edge } else { self.edge }, CORNER);
        if focused {
            border.width = self.line_width + 0.5;
        }
        text_editor::Style {
            background: Background::Color(self.field),
            border,
            placeholder: mix(self.muted, self.field, 0.25),
            value: self.text,
            selection: mix(self.accent, self.field, 0.6),
        }
    }

    /// A plain surface.
    pub(super) fn surface(ground: Color) -> container::Style {
        container::Style {
            background: Some(Background::Color(ground)),
            ..container::Style::default()
        }
    }

    /// A surface with a frame.
    pub(super) fn framed(&self, ground: Color, edge: Color) -> container::Style {
        container::Style {
            border: self.border(edge, CORNER + 1.0),
            ..Self::surface(ground)
        }
    }

    /// A rounded surface without a frame; with one where colours alone would not tell it apart.
    pub(super) fn tinted(&self, ground: Color, strong: Color) -> container::Style {
        let edge = if self.line_width > 1.0 {
            strong
        } else {
            Color::TRANSPARENT
        };
        self.framed(ground, edge)
    }

    /// A dialog or card above the rest. It casts no shadow: drawn by software, a shadow would be drawn
    /// again over all of itself with each small change, and grow black.
    pub(super) fn card(&self) -> container::Style {
        container::Style {
            border: self.border(self.line, CARD_CORNER),
            ..Self::surface(self.raised)
        }
    }

    /// What covers the rest while a dialog is open.
    pub(super) fn shade(&self) -> container::Style {
        Self::surface(self.shade)
    }

    /// A line.
    pub(super) fn rule(&self) -> rule::Style {
        rule::Style {
            color: self.line,
            radius: same(0.0),
            fill_mode: rule::FillMode::Full,
            snap: true,
        }
    }

    /// A line in a colour that means something.
    pub(super) fn rule_of(&self, color: Color) -> rule::Style {
        rule::Style {
            color,
            ..self.rule()
        }
    }

    /// A bar that fills.
    pub(super) fn bar(&self, filled: Color) -> progress_bar::Style {
        progress_bar::Style {
            background: Background::Color(mix(self.line, self.ground, 0.15)),
            bar: Background::Color(filled),
            border: Border {
                color: if self.line_width > 1.0 {
                    self.line
                } else {
                    Color::TRANSPARENT
                },
                width: if self.line_width > 1.0 { 1.0 } else { 0.0 },
                radius: same(3.0),
            },
        }
    }

    /// Slim scroll bars.
    pub(super) fn scroll(&self, theme: &Theme, status: scrollable::Status) -> scrollable::Style {
        let mut style = scrollable::default(theme, status);
        let over = !matches!(status, scrollable::Status::Active { .. });
        let thumb = if over { self.muted } else { self.edge };
        for rail in [&mut style.vertical_rail, &mut style.horizontal_rail] {
            rail.background = None;
            rail.scroller.background = Background::Color(thumb);
            rail.scroller.border.radius = same(3.0);
        }
        style
    }
}

const fn same(radius: f32) -> Radius {
    Radius {
        top_left: radius,
        top_right: radius,
        bottom_right: radius,
        bottom_left: radius,
    }
}

/// `share` of the way from one colour to another.
pub(super) fn mix(from: Color, to: Color, share: f32) -> Color {
    let part = |from: f32, to: f32| from + (to - from) * share;
    Color {
        r: part(from.r, to.r),
        g: part(from.g, to.g),
        b: part(from.b, to.b),
        a: part(from.a, to.a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance and contrast as in WCAG 2.2.
    fn contrast(one: Color, other: Color) -> f32 {
        let (one, other) = (one.relative_luminance(), other.relative_luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn all_text_can_be_read() {
        for look in [LIGHT, DARK, HIGH_CONTRAST] {
            let least = if look == HIGH_CONTRAST { 7.0 } else { 4.5 };
            for ground in [look.ground, look.panel, look.raised, look.field, look.hover] {
                for text in [look.text, look.muted] {
                    let seen = contrast(text, ground);
                    assert!(
                        seen >= least,
                        "{}: {seen} of {text:?} on {ground:?}",
                        look.name
                    );
                }
            }
            for (text, ground) in [
                (look.on_accent, look.accent),
                (look.accent, look.ground),
                (look.accent, look.panel),
                (look.text, look.accent_soft),
                (look.accent, look.accent_soft),
                (look.good, look.good_soft),
                (look.warn, look.warn_soft),
                (look.bad, look.bad_soft),
                (look.bad, look.raised),
                (look.whisper, look.whisper_soft),
                (look.text, look.whisper_soft),
                (look.muted, look.warn_soft),
            ] {
                let seen = contrast(text, ground);
                assert!(
                    seen >= least,
                    "{}: {seen} of {text:?} on {ground:?}",
                    look.name
                );
            }
        }
    }
}

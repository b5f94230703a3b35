//! The bottom: all downloads, and what the network does.

use iced::widget::{button, column, container, row, space, text};
use iced::{Center, Fill, FillPortion, Padding};

use super::talk::Message;
use super::{transfer_detail, transfer_row};
use crate::gui::chart::Plot;
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Kind, Look, size};
use crate::gui::parts::{Piece, aside, empty, gap, line, scrolling, small_button, upright};
use crate::gui::room::Room;
use crate::model::transfers::{Summary, Transfer};
use crate::model::{Model, units};
use columba_core::units::Timestamp;

/// A view of the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Bytes per second over time.
    #[default]
    Speed,
    /// Round trip and loss over time.
    Path,
    /// How long single packets take.
    Percentiles,
}

/// What the pane knows besides the model.
#[derive(Clone, Debug, Default)]
pub(in crate::gui) struct Pane {
    pub(in crate::gui) open: bool,
    /// The download that was chosen; the foremost one without.
    pub(in crate::gui) chosen: Option<u32>,
    pub(in crate::gui) tab: Tab,
    /// The figures behind the sentence are shown.
    pub(in crate::gui) behind: bool,
}

impl Pane {
    /// The download whose figures are shown.
    fn selected<'a>(&self, model: &'a Model) -> Option<&'a Transfer> {
        self.chosen
            .and_then(|request| model.transfers().get(request))
            .or_else(|| model.transfers().foremost())
    }

    /// Whether it is open; an empty one does not take the place of the talk.
    pub(in crate::gui) fn is_open(&self, model: &Model, room: Room) -> bool {
        self.open && (room.is_high() || !model.transfers().is_empty())
    }

    pub(in crate::gui) fn view<'a>(
        &'a self,
        look: &'a Look,
        model: &'a Model,
        now: Timestamp,
        room: Room,
    ) -> Piece<'a, Message> {
        let head = self.head(look, model, room);
        if !self.is_open(model, room) {
            return head;
        }
        let body: Piece<'a, Message> = if model.transfers().is_empty() {
            let words = "Press Get beside a file, or Download File above. Several can run at once, and \
                         each goes on where it stopped.";
            empty(look, Icon::DOWNLOAD, "No downloads yet", words)
        } else {
            let selected = self.selected(model);
            let chosen = selected.map(Transfer::request);
            let rows = model.transfers().iter().rev().map(|transfer| {
                let is_chosen = chosen == Some(transfer.request());
                transfer_row::view(look, transfer, is_chosen)
            });
            let rows: Vec<Piece<'a, Message>> = rows.collect();
            let list = scrolling(
                look,
                column(rows).spacing(4).padding(Padding::new(8.0).right(14)),
            )
            .width(FillPortion(11))
            .height(Fill);
            let detail = container(transfer_detail::view(look, self, model, selected, now))
                .width(FillPortion(9))
                .height(Fill);
            if room.is_wide() {
                row![list, upright(look), detail].into()
            } else {
                list.width(Fill).into()
            }
        };
        let body = container(body)
            .height(if room.is_high() {
                room.downloads().into()
            } else {
                Fill
            })
            .width(Fill)
            .style(move |_| Look::surface(look.ground));
        column![head, line(look), body].into()
    }

    fn head<'a>(&self, look: &'a Look, model: &'a Model, room: Room) -> Piece<'a, Message> {
        let summary = model.transfers().summary();
        let open = self.is_open(model, room);
        let arrow = if open {
            Icon::CHEVRON_DOWN
        } else {
            Icon::CHEVRON_UP
        };
        let mut content = row![
            arrow.coloured(15.0, look.muted),
            text("Transfers").size(13.0).font(BOLD),
            aside(look, told(&summary))
        ]
        .spacing(9)
        .align_y(Center);
        if summary.bytes_per_second > 0.0 {
            let rate = text(units::rate(summary.bytes_per_second))
                .size(13.0)
                .font(BOLD)
                .color(look.accent);
            let spark = Plot::spark(look, model.network().throughput(), look.accent);
            content = content.push(rate);
            content = content.push(spark.view(90, 20.0));
        }
        let toggle = button(content)
            .padding([7, 8])
            .on_press(Message::ToggleTransfers)
            .style(move |_, status| look.choice(false, status));
        let mut line = row![toggle, gap()].spacing(8).align_y(Center);
        if summary.failed > 0 {
            let words = format!("{} failed", summary.failed);
            line = line.push(Icon::ALERT.coloured(14.0, look.bad));
            line = line.push(text(words).size(size::SMALL).color(look.bad));
            line = line.push(small_button(
                look,
                Kind::Plain,
                "Retry all",
                Message::RetryAll,
            ));
        }
        if open && summary.done > 0 && room.is_wide() {
            let clear = Message::ClearDone;
            line = line.push(small_button(look, Kind::Quiet, "Clear done", clear));
        }
        line = line.push(space::horizontal().width(2));
        container(line)
            .padding([3, 8])
            .width(Fill)
            .style(move |_| Look::surface(look.panel))
            .into()
    }
}

fn told(summary: &Summary) -> String {
    let parts = [
        (summary.active, "active"),
        (summary.queued, "queued"),
        (summary.paused, "paused"),
        (summary.done, "done"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if parts.is_empty() && summary.failed == 0 {
        "none yet".to_owned()
    } else {
        parts.join(" · ")
    }
}

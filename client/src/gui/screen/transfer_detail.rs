//! What the network does for the downloads: plots, and why it is this speed.

use iced::widget::{button, column, container, row, text};
use iced::{Center, Fill, Padding};

use super::talk::Message;
use super::transfers::{Pane, Tab};
use crate::gui::chart::{Bars, Plot};
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Look, size};
use crate::gui::parts::{Piece, aside, empty, group, scrolling};
use crate::model::transfers::Transfer;
use crate::model::why::Bottleneck;
use crate::model::{Model, units};
use columba_core::units::Timestamp;

/// Height of one plot.
const PLOT: f32 = 122.0;

pub(in crate::gui) fn view<'a>(
    look: &'a Look,
    pane: &'a Pane,
    model: &'a Model,
    selected: Option<&'a Transfer>,
    now: Timestamp,
) -> Piece<'a, Message> {
    let plots: Piece<'a, Message> = match pane.tab {
        Tab::Speed => speed(look, selected),
        Tab::Path => path(look, model),
        Tab::Percentiles => percentiles(look, model),
    };
    let content = column![tabs(look, pane.tab), plots, why(look, pane, model, now)].spacing(8);
    scrolling(
        look,
        container(content).padding(Padding::new(10.0).right(14).bottom(6)),
    )
    .height(Fill)
    .into()
}

fn tabs(look: &Look, current: Tab) -> Piece<'_, Message> {
    let one = |tab: Tab, name: &'static str| {
        let chosen = tab == current;
        let mut words = text(name).size(size::SMALL);
        if chosen {
            words = words.font(BOLD);
        }
        button(words)
            .padding([4, 10])
            .on_press(Message::Figures(tab))
            .style(move |_, status| look.choice(chosen, status))
    };
    row![
        one(Tab::Speed, "Speed"),
        one(Tab::Path, "Round trip and loss"),
        one(Tab::Percentiles, "Percentiles")
    ]
    .spacing(4)
    .into()
}

fn speed<'a>(look: &'a Look, selected: Option<&'a Transfer>) -> Piece<'a, Message> {
    let Some(transfer) = selected.filter(|transfer| !transfer.throughput().is_empty()) else {
        return no_figures(look, "The plot begins with the first bytes.");
    };
    let plot = Plot::new(
        look,
        transfer.throughput(),
        look.accent,
        1000.0,
        units::rate,
    );
    column![
        group(look, format!("SPEED OF {}", transfer.title())).wrapping(text::Wrapping::None),
        plot.view(Fill, PLOT)
    ]
    .spacing(4)
    .into()
}

fn path<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let network = model.network();
    if network.rtt_ms().is_empty() {
        return no_figures(look, "The plots begin with the first download.");
    }
    let millis = |value: f64| format!("{value:.0} ms");
    let half = (PLOT - 22.0) / 2.0;
    let rtt = Plot::new(look, network.rtt_ms(), look.accent, 2.0, millis);
    let loss = Plot::new(look, network.loss(), look.bad, 0.01, units::percent);
    column![
        group(look, "ROUND TRIP"),
        rtt.view(Fill, half + 8.0),
        group(look, "PACKETS LOST"),
        loss.view(Fill, half + 8.0)
    ]
    .spacing(2)
    .into()
}

fn percentiles<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let bars: Vec<(String, f64, String)> = model
        .network()
        .percentiles()
        .map(|percentile| {
            let name = if percentile.percent >= 100.0 {
                "max".to_owned()
            } else {
                format!("p{}", percentile.percent)
            };
            let shown = units::latency(percentile.rtt);
            (name, percentile.rtt.as_secs_f64(), shown)
        })
        .collect();
    if bars.is_empty() {
        return no_figures(look, "The bars begin with the first download.");
    }
    column![
        group(look, "ROUND TRIP OF SINGLE PACKETS"),
        Bars::new(look, bars).view(PLOT)
    ]
    .spacing(4)
    .into()
}

fn no_figures<'a>(look: &'a Look, words: &'a str) -> Piece<'a, Message> {
    container(empty(look, Icon::ACTIVITY, "No figures yet", words))
        .height(PLOT)
        .into()
}

fn why<'a>(
    look: &'a Look,
    pane: &'a Pane,
    model: &'a Model,
    now: Timestamp,
) -> Option<Piece<'a, Message>> {
    let why = model.network().why(now)?;
    let icon = match why.bottleneck {
        Bottleneck::Network => Icon::WIFI,
        Bottleneck::Cap => Icon::GAUGE,
        Bottleneck::ServerDisk | Bottleneck::OurDisk => Icon::DISK,
        Bottleneck::Server => Icon::SERVER,
        Bottleneck::OurBuffer => Icon::MONITOR,
        Bottleneck::Nothing => Icon::CHECKED,
    };
    let toggle = if pane.behind {
        "Hide the figures"
    } else {
        "Show the figures"
    };
    let toggle = button(text(toggle).size(size::SMALL))
        .padding(0)
        .on_press(Message::ToggleBehind)
        .style(move |_, status| look.link(status));
    let mut content = column![
        row![
            icon.coloured(17.0, look.accent),
            column![
                text("Why is it this speed?").size(size::SMALL).font(BOLD),
                text(why.sentence.as_str()).size(13.0),
                toggle
            ]
            .spacing(3)
            .width(Fill)
        ]
        .spacing(10)
    ]
    .spacing(8);
    if pane.behind {
        content = content.push(figures(look, &why.figures));
    }
    let card = container(content)
        .padding([9, 12])
        .width(Fill)
        .style(move |_| look.tinted(look.accent_soft, look.accent));
    Some(card.into())
}

fn figures<'a>(look: &'a Look, all: &'a [(&'static str, String)]) -> Piece<'a, Message> {
    let one = |(name, value): &'a (&'static str, String)| {
        row![
            aside(look, *name).width(Fill),
            text(value.as_str()).size(size::SMALL).font(BOLD)
        ]
        .spacing(8)
        .align_y(Center)
        .width(Fill)
    };
    let rows = all.chunks(2).map(|pair| {
        let mut line = row![].spacing(18);
        for figure in pair {
            line = line.push(one(figure));
        }
        line.into()
    });
    let rows: Vec<Piece<'a, Message>> = rows.collect();
    column(rows).spacing(2).into()
}

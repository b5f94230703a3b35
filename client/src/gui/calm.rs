//! Lets the blinking cursor stand still when nobody has typed or clicked for a while, so that a window
//! that is only looked at is not drawn twice a second.

use std::time::{Duration, Instant};

use iced::advanced::layout::{Limits, Node};
use iced::advanced::renderer::Style;
use iced::advanced::widget::{Operation, Tree, tree};
use iced::advanced::{Clipboard, Layout, Shell, Widget, mouse, overlay};
use iced::window::{self, RedrawRequest};
use iced::{Element, Event, Length, Rectangle, Renderer, Size, Theme, Vector};

/// How long a cursor blinks after the last key or click.
const BLINKS_FOR: Duration = Duration::from_secs(10);

/// Everything in it, as it is.
pub(super) struct Calm<'a, Message>(Element<'a, Message>);

/// Wraps a whole window.
pub(super) fn calm<'a, Message: 'a>(
    content: impl Into<Element<'a, Message>>,
) -> Element<'a, Message> {
    Element::new(Calm(content.into()))
}

/// When somebody last did something.
struct Busy(Instant);

/// Whether an event is of a person who works here, not one who passes by.
const fn is_of_person(event: &Event) -> bool {
    match event {
        Event::Keyboard(_) | Event::InputMethod(_) | Event::Touch(_) => true,
        Event::Mouse(event) => !matches!(
            event,
            mouse::Event::CursorEntered
                | mouse::Event::CursorLeft
                | mouse::Event::CursorMoved { .. }
        ),
        Event::Window(event) => matches!(event, window::Event::Focused),
    }
}

impl<Message> Widget<Message, Theme, Renderer> for Calm<'_, Message> {
    fn update(
        &mut self,
        tree: &mut Tree,
        event: &Event,
        layout: Layout<'_>,
        cursor: mouse::Cursor,
        renderer: &Renderer,
        clipboard: &mut dyn Clipboard,
        shell: &mut Shell<'_, Message>,
        viewport: &Rectangle,
    ) {
        let busy = tree.state.downcast_mut::<Busy>();
        if is_of_person(event) {
            busy.0 = Instant::now();
        }
        let still = match event {
            Event::Window(window::Event::RedrawRequested(now)) if *now > busy.0 + BLINKS_FOR => {
                // At the time of the last key the cursor is there to be seen.
                Some(Event::Window(window::Event::RedrawRequested(busy.0)))
            }
            Event::Window(_)
            | Event::Keyboard(_)
            | Event::Mouse(_)
            | Event::Touch(_)
            | Event::InputMethod(_) => None,
        };
        let before = shell.redraw_request();
        self.0.as_widget_mut().update(
            &mut tree.children[0],
            still.as_ref().unwrap_or(event),
            layout,
            cursor,
            renderer,
            clipboard,
            shell,
            viewport,
        );
        if still.is_some() && matches!(shell.redraw_request(), RedrawRequest::At(_)) {
            Shell::replace_redraw_request(shell, before);
        }
    }

    fn size(&self) -> Size<Length> {
        self.0.as_widget().size()
    }

    fn size_hint(&self) -> Size<Length> {
        self.0.as_widget().size_hint()
    }

    fn layout(&mut self, tree: &mut Tree, renderer: &Renderer, limits: &Limits) -> Node {
        self.0
            .as_widget_mut()
            .layout(&mut tree.children[0], renderer, limits)
    }

    fn draw(
        &self,
        tree: &Tree,
        renderer: &mut Renderer,
        theme: &Theme,
        style: &Style,
        layout: Layout<'_>,
        cursor: mouse::Cursor,
        viewport: &Rectangle,
    ) {
        self.0.as_widget().draw(
            &tree.children[0],
            renderer,
            theme,
            style,
            layout,
            cursor,
            viewport,
        );
    }

    fn tag(&self) -> tree::Tag {
        tree::Tag::of::<Busy>()
    }

    fn state(&self) -> tree::State {
        tree::State::new(Busy(Instant::now()))
    }

    fn children(&self) -> Vec<Tree> {
        vec![Tree::new(&self.0)]
    }

    fn diff(&self, tree: &mut Tree) {
        tree.diff_children(&[&self.0]);
    }

    fn operate(
        &mut self,
        tree: &mut Tree,
        layout: Layout<'_>,
        renderer: &Renderer,
        operation: &mut dyn Operation,
    ) {
        self.0
            .as_widget_mut()
            .operate(&mut tree.children[0], layout, renderer, operation);
    }

    fn mouse_interaction(
        &self,
        tree: &Tree,
        layout: Layout<'_>,
        cursor: mouse::Cursor,
        viewport: &Rectangle,
        renderer: &Renderer,
    ) -> mouse::Interaction {
        self.0
            .as_widget()
            .mouse_interaction(&tree.children[0], layout, cursor, viewport, renderer)
    }

    fn overlay<'b>(
        &'b mut self,
        tree: &'b mut Tree,
        layout: Layout<'b>,
        renderer: &Renderer,
        viewport: &Rectangle,
        translation: Vector,
    ) -> Option<overlay::Element<'b, Message, Theme, Renderer>> {
        self.0.as_widget_mut().overlay(
            &mut tree.children[0],
            layout,
            renderer,
            viewport,
            translation,
        )
    }
}

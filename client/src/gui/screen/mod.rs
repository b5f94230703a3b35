//! The screens: each has a state, takes its messages, and returns what is beyond it as an event.

pub(super) mod composer;
pub(super) mod connect;
pub(super) mod files;
pub(super) mod people;
pub(super) mod talk;
pub(super) mod timeline;
pub(super) mod transfer_detail;
pub(super) mod transfer_row;
pub(super) mod transfers;

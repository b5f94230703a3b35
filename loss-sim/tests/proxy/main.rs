//! The proxy between real sockets, as a library and as a program. Everything stays on the loopback, on
//! ports of the system's choice.

mod program;
mod support;
mod tcp;
mod udp;

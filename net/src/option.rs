//! Socket options that no safe wrapper names, setsockopt(2).
#![expect(
    unsafe_code,
    reason = "the options are too new or too rare for wrappers"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, socklen_t};

/// Sets an option whose value is an `int`.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_option(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "4 fits")]
    const INT_BYTES: socklen_t = size_of::<c_int>() as socklen_t;
    // SAFETY: the option's value is the `int` that pointer and length describe.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            INT_BYTES,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

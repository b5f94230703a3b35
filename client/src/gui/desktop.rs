//! What the window asks of the desktop: notifications, the choice of a folder, opening files and links.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::model::Notice;

/// Shows a notification. Without a notification service nothing happens.
pub(super) fn notify(notice: &Notice) {
    let (title, body) = match notice {
        Notice::Mention { from, text } => (format!("{from} mentions you"), text.clone()),
        Notice::Whisper { from, text } => (format!("{from} whispers"), text.clone()),
        Notice::Downloaded { title } => ("Download complete".to_owned(), title.clone()),
        Notice::DownloadFailed { title, reason } => {
            (format!("{title} could not be downloaded"), reason.clone())
        }
        Notice::ConnectionLost { reason } => ("Connection lost".to_owned(), reason.clone()),
    };
    // The bus may take its time to say that nobody is there; the window does not wait.
    let spawned = std::thread::Builder::new()
        .name("notification".to_owned())
        .spawn(move || {
            let shown = notify_rust::Notification::new()
                .appname("Columba")
                .icon("columba")
                .summary(&title)
                .body(&escaped(&body))
                .show();
            if let Err(error) = shown {
                tracing::debug!("no notification: {error}");
            }
        });
    if let Err(error) = spawned {
        tracing::debug!("no notification: {error}");
    }
}

/// Notification services read the body as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Lets the person choose a folder; `None` when they do not, or when the desktop has no such dialog.
pub(super) async fn choose_folder(start: PathBuf) -> Option<PathBuf> {
    let chosen = rfd::AsyncFileDialog::new()
        .set_title("Download to")
        .set_directory(start)
        .pick_folder()
        .await?;
    Some(chosen.path().to_path_buf())
}

/// Opens a file or folder with the program that the desktop has for it.
pub(super) fn open_path(path: &Path) -> Result<(), String> {
    if !path.exists() {
        let shown = crate::storage::paths::shown(path);
        return Err(format!("{shown} is not there any more"));
    }
    open(path.as_os_str().to_owned())
}

/// Opens a link in the browser.
pub(super) fn open_link(link: &str) -> Result<(), String> {
    let lower = link.to_ascii_lowercase();
    if lower.starts_with("https://") || lower.starts_with("http://") {
        open(OsString::from(link))
    } else {
        Err("only web links are opened".to_owned())
    }
}

fn open(target: OsString) -> Result<(), String> {
    let program = if cfg!(target_os = "windows") {
        "explorer"
    } else if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let child = Command::new(program)
        .arg(target)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(mut child) => {
            // Somebody has to take its end, or it stays as a zombie.
            let reaper = std::thread::Builder::new().name("open".to_owned());
            let waiting = reaper.spawn(move || {
                let _ = child.wait();
            });
            waiting.map(drop).map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("cannot start {program}: {error}")),
    }
}

/// The folder that holds a file, or the folder itself.
pub(super) fn folder_of(path: &Path) -> &Path {
    if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    }
}

//! `columba get`

use std::path::Path;
use std::sync::{Arc, Mutex};

use columba_core::chat::printable;
use columba_core::control::Policy;
use indicatif::{HumanBytes, HumanDuration};

use super::args::{Common, Get, SharePolicy};
use super::output::{GetLine, line};
use super::signals::{Stopped, stop_on_signals};
use super::{Settings, engine_config, note_connection, print};
use crate::download::get;
use crate::engine::message::{Event, FileReport, GetEvent, TransferOptions};
use crate::engine::split_output;
use crate::exit_code::ClientError;
use crate::progress::Progress;
use crate::storage::disk::DiskStorage;
use crate::storage::paths::shown;
use crate::storage::stdout::PipeStorage;
use crate::storage::{Existing, Storage};

pub(super) fn run(common: &Common, options: Get) -> Result<(), ClientError> {
    let settings = Settings::gather(common)?;
    let to_stdout = options.output.as_deref() == Some(Path::new("-"));
    if to_stdout && (options.files.len() > 1 || options.json) {
        return Err(ClientError::Usage(
            "-o - writes one file to standard output: name one, without --json".to_owned(),
        ));
    }
    let (folder, target) = split_output(options.output.as_deref(), options.files.len() > 1);
    let storage: Arc<dyn Storage> = if to_stdout {
        Arc::new(PipeStorage::new(Arc::new(Mutex::new(std::io::stdout()))))
    } else {
        Arc::new(DiskStorage::new(folder, existing(&options)))
    };
    let mut config = engine_config(&settings)?;
    config.storage = storage;
    config.transfer = TransferOptions {
        jobs: options.jobs,
        policy: match options.policy {
            SharePolicy::Fair => Policy::Fair,
            SharePolicy::Low => Policy::Low,
        },
        rate_limit: options.limit_rate.unwrap_or(0),
        max_datagram: options.max_datagram.unwrap_or(0),
    };
    let several = options.files.len() > 1;
    let mut view = View {
        progress: Progress::new(common.quiet || options.no_progress || options.json),
        json: options.json,
        quiet: common.quiet,
        several,
        settings: &settings,
        print_failed: None,
    };
    let mut stopped = Stopped::default();
    let target = target.filter(|_| !to_stdout);
    let result = get(
        config,
        options.files,
        target,
        |commands| stopped = stop_on_signals(commands),
        |event| view.show(event),
    );
    view.progress.clear();
    if let Some(error) = view.print_failed {
        return Err(error);
    }
    let summary = stopped.or(result)?;
    stopped.or(summary.outcome()).map(drop)
}

fn existing(options: &Get) -> Existing {
    if options.overwrite {
        Existing::Overwrite
    } else if options.rename {
        Existing::Rename
    } else if options.skip {
        Existing::Skip
    } else {
        Existing::Refuse
    }
}

struct View<'a> {
    progress: Progress,
    json: bool,
    quiet: bool,
    several: bool,
    settings: &'a Settings,
    print_failed: Option<ClientError>,
}

impl View<'_> {
    fn show(&mut self, event: &Event) {
        note_connection(event, self.settings, self.quiet);
        let Event::Get { event, .. } = event else {
            return;
        };
        match event {
            GetEvent::Progress(progress) => {
                self.progress.set_total_files(progress.total_files);
                let name = printable(&progress.current);
                let label = if progress.total_files > 1 {
                    let number = progress.done_files + 1;
                    format!("{number}/{} {name}", progress.total_files)
                } else {
                    name.into_owned()
                };
                self.progress
                    .update(&label, progress.done_bytes, progress.total_bytes);
            }
            GetEvent::Done(report) => self.show_done(report),
            GetEvent::Skipped { file, target } => {
                self.say(&format!(
                    "columba: {} is left out: {} exists",
                    printable(file),
                    shown(target)
                ));
            }
            GetEvent::StartsOver { file } => {
                self.say(&format!(
                    "columba: {} changed on the server and starts from zero",
                    printable(file)
                ));
            }
            GetEvent::Failed { file, error } => {
                // A single failure is what the program ends with, and told there.
                if self.several || self.progress_counts_more() {
                    let text = if file.is_empty() {
                        format!("columba: {error}")
                    } else {
                        format!("columba: {}: {error}", printable(file))
                    };
                    self.progress.say(&text);
                }
            }
            GetEvent::Finished => {}
        }
    }

    /// A folder's name stands for several files.
    const fn progress_counts_more(&self) -> bool {
        self.progress.total_files() > 1
    }

    fn show_done(&mut self, report: &FileReport) {
        if self.json {
            if let Err(error) = print(&line(&GetLine::from(report))) {
                self.print_failed = Some(error);
            }
            return;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "for display; float casts saturate"
        )]
        let rate = report.bytes_per_second() as u64;
        let resumed = match report.resumed_bytes {
            0 => String::new(),
            bytes => format!(", {} were here", HumanBytes(bytes)),
        };
        self.say(&format!(
            "{}: {} in {} ({}/s{resumed})",
            printable(&report.file),
            HumanBytes(report.bytes),
            seconds(report),
            HumanBytes(rate),
        ));
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            self.progress.say(text);
        }
    }
}

fn seconds(report: &FileReport) -> String {
    if report.elapsed.as_secs() < 60 {
        format!("{:.2} s", report.elapsed.as_secs_f64())
    } else {
        HumanDuration(report.elapsed).to_string()
    }
}

//! `columba get`

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

/// Files that are told one by one.
const MAX_FILES_TOLD: usize = 20;

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
        begun: Instant::now(),
        arrived: 0,
        arrived_bytes: 0,
        left_out: 0,
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
    view.show_total();
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
    begun: Instant,
    arrived: usize,
    arrived_bytes: u64,
    left_out: usize,
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
                self.left_out += 1;
                self.say_of_file(&format!(
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
        self.arrived += 1;
        self.arrived_bytes += report.bytes;
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
        self.say_of_file(&format!(
            "{}: {} in {} ({}/s{resumed})",
            printable(&report.file),
            HumanBytes(report.bytes),
            seconds(report.elapsed),
            HumanBytes(rate),
        ));
    }

    /// A whole tree is told in one line.
    fn show_total(&self) {
        if self.arrived + self.left_out > 1 && !self.json {
            let left_out = match self.left_out {
                0 => String::new(),
                count => format!(", {count} left out, for they exist"),
            };
            self.say(&format!(
                "{} files, {} in {}{left_out}",
                self.arrived,
                HumanBytes(self.arrived_bytes),
                seconds(self.begun.elapsed()),
            ));
        }
    }

    /// What is told of each file, unless there are many.
    fn say_of_file(&self, text: &str) {
        if self.arrived + self.left_out <= MAX_FILES_TOLD {
            self.say(text);
        }
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            self.progress.say(text);
        }
    }
}

fn seconds(time: Duration) -> String {
    if time.as_secs() < 60 {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        HumanDuration(time).to_string()
    }
}

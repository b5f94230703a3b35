//! The program `columba`.

fn main() -> std::process::ExitCode {
    columba_client::cli::main()
}

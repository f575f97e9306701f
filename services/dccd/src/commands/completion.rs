//! `dccd completion`, `dccd --install-completion`: completions for shells.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use clap_complete::Shell;

use crate::exit::Failure;
use crate::output::{Out, say};

/// What is to be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell [default: that of $SHELL]
    shell: Option<Shell>,
    /// Put them where the shell looks for them instead of printing them
    #[arg(long)]
    install_completion: bool,
}

/// Prints or installs them.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.install_completion {
        return install(arguments.shell);
    }
    let mut out = Out::new();
    out.raw(&script(shell(arguments.shell)?))?;
    out.flush()
}

fn shell(named: Option<Shell>) -> Result<Shell, Failure> {
    let known = || anyhow!("the shell is not known: name one of bash, zsh, fish, elvish, powershell");
    Ok(named.or_else(Shell::from_env).ok_or_else(known)?)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::cli::command(), "dccd", &mut script);
    script
}

/// Puts the completions of this shell, or of `$SHELL`, where it looks for them.
pub fn install(named: Option<Shell>) -> Result<(), Failure> {
    let shell = shell(named)?;
    let home = std::env::home_dir().context("the home directory is not known: set HOME")?;
    let base = |variable: &str, below: &str| {
        let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        set.unwrap_or_else(|| home.join(below))
    };
    let (path, note) = match shell {
        Shell::Bash => (base("XDG_DATA_HOME", ".local/share").join("bash-completion/completions/dccd"), None),
        Shell::Fish => (base("XDG_CONFIG_HOME", ".config").join("fish/completions/dccd.fish"), None),
        Shell::Zsh => {
            let note = "~/.zshrc needs, before compinit: fpath=(~/.zfunc $fpath)";
            (home.join(".zfunc/_dccd"), Some(note))
        }
        other => {
            return Err(
                anyhow!("{other} has no place for completions: put `dccd completion {other}` into its profile").into()
            );
        }
    };
    write(&path, &script(shell))?;
    say(format_args!("completions for {shell} are in {}; they hold for new shells", path.display()));
    if let Some(note) = note {
        say(note);
    }
    Ok(())
}

fn write(path: &Path, script: &[u8]) -> Result<(), Failure> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(failed)?;
    }
    Ok(std::fs::write(path, script).with_context(failed)?)
}

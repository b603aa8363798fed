//! `meltemi token`: a token of the state folder's key, on standard output; what it is called in the logs on standard error.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use meltemi_serve::identity::mint;

use crate::ca_args::TokenArgs;

#[allow(clippy::print_stderr, reason = "standard output is the token alone, for a file or a variable")]
pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let (token, claims) = mint(&args.state_dir, &args.r#for.namespace, &args.r#for.name, args.life)
        .context("no token can be made")?;
    eprintln!(
        "token {} for {}/{}, until {}",
        claims.id(),
        args.r#for.namespace,
        args.r#for.name,
        claims.expires()
    );
    writeln!(std::io::stdout(), "{}", token.reveal()).context("the token cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

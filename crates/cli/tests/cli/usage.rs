//! Wrong use exits with 2 and says what to write; a check that fails exits with 1.

use anyhow::Result;

use crate::program::{ended, meltemi, run, text};
use crate::yaml::reviews;

#[tokio::test]
async fn wrong_use_exits_with_2_and_names_what_is_wrong() -> Result<()> {
    let folder = reviews()?;
    let path = text(folder.path())?;
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: meltemi"),
        (&["fly"], "fly"),
        (&["validate"], "<DIR>"),
        (&["validate", path, "-o", "xml"], "xml"),
        (&["serve"], "--config"),
        (&["serve", "--config", path, "--fast"], "--fast"),
        (&["serve", "--config", path, "--holds", "maybe"], "maybe"),
        (&["serve", "--config", path, "--log-format", "xml"], "xml"),
        (&["serve", "--config", path, "--xds-address", "here"], "IP:PORT"),
        (&["serve", "--config", path, "--http-address", "127.0.0.1:99999"], "127.0.0.1:99999"),
        (&["serve", "--config", path, "--secure-xds-address", "here"], "IP:PORT"),
        (
            &[
                "serve",
                "--config",
                "/nowhere/at/all",
                "--xds-address",
                "127.0.0.1:0",
                "--http-address",
                "127.0.0.1:0",
                "--monitoring-address",
                "127.0.0.1:0",
            ],
            "/nowhere/at/all",
        ),
        (&["translate", "--config", path], "--proxy"),
        (&["translate", "--config", path, "--proxy", "client"], "NAME.NAMESPACE"),
        (&["translate", "--config", path, "--proxy", "client.default", "--ip", "here"], "here"),
        (&["translate", "--config", "/nowhere/at/all", "--proxy", "client.default"], "/nowhere/at/all"),
        (&["bootstrap", "--proxy", "client.default", "--label", "app"], "KEY=VALUE"),
        (&["bootstrap", "--proxy", "client.default", "--xds-address", "here"], "HOST:PORT"),
        (&["bootstrap", "--proxy", "client.default", "--interception", "MAGIC"], "REDIRECT"),
        (&["proxy-status", "--server", "here"], "HOST:PORT"),
        (&["crds", "--exclude", "nothing"], "no such CustomResourceDefinition"),
    ];
    for (arguments, said) in cases {
        let ended = ended(arguments).await?;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?} does not say `{said}`: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_environment_variable_exits_with_2_like_its_option() -> Result<()> {
    let folder = reviews()?;
    for (name, value) in
        [("MELTEMI_HOLDS", "maybe"), ("MELTEMI_XDS_ADDRESS", "here"), ("MELTEMI_LOG_FORMAT", "xml")]
    {
        let mut command = meltemi(["serve", "--config", text(folder.path())?]);
        command.env(name, value);
        let ended = run(command).await?;
        assert_eq!(ended.code, Some(2), "{name}: {ended:?}");
        assert!(ended.stderr.contains(value), "{name}: {ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn help_and_version_are_no_errors() -> Result<()> {
    let help = ended(&["--help"]).await?;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for command in ["serve", "validate", "translate", "bootstrap", "proxy-status", "crds"] {
        assert!(help.stdout.contains(command), "{}", help.stdout);
    }
    let version = ended(&["--version"]).await?;
    assert_eq!((version.code, version.stdout.starts_with("meltemi ")), (Some(0), true));
    Ok(())
}

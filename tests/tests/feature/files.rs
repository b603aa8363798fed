//! What happens to files: broken, deleted, twice, a thousand at once.

use anyhow::Result;
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::Form;
use meltemi_tests::control_plane::{ControlPlane, until, virtual_host};

use crate::reviews::{self, CONFIGURATION, splits};

const BEFORE: &[(&str, u64)] = &[("v1", 90), ("v2", 10)];

async fn mesh() -> Result<ControlPlane> {
    ControlPlane::start(&[
        ("app.yaml", &reviews::app()),
        ("other.yaml", &reviews::service("other")),
        ("rule.yaml", &reviews::rule(&["v1", "v2"])),
        ("route.yaml", &reviews::route(BEFORE)),
    ])
    .await
}

#[tokio::test]
async fn a_broken_file_leaves_its_last_good_state_in_force_and_all_others_go_on() -> Result<()> {
    let weights_of_text = reviews::route(BEFORE).replace("weight: 90", "weight: most");
    let half = reviews::route(&[("v1", 50), ("v2", 50)]);
    let half = &half[..half.len() / 2];
    for broken in [weights_of_text.as_str(), "{", "kind: VirtualService\n\tname", half] {
        let mut mesh = mesh().await?;
        let mut client = mesh.client(Form::Delta).await?;
        until(&mut client, |held| splits(held, BEFORE)).await?;
        mesh.write("route.yaml", broken)?;
        mesh.save("timeout.yaml", &reviews::plain("other", "7s")).await?;
        until(&mut client, |held| reviews::has_timeout(held, "other", "7s")).await?;
        assert!(splits(client.held(), BEFORE), "{broken}");

        // Mended, it is in force.
        let mended = [("v1", 50), ("v2", 50)];
        mesh.save("route.yaml", &reviews::route(&mended)).await?;
        until(&mut client, |held| splits(held, &mended)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_broken_document_spares_the_others_of_its_file() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = mesh.client(Form::Delta).await?;
    until(&mut client, |held| splits(held, BEFORE)).await?;
    let broken = reviews::route(BEFORE).replace("weight: 90", "weight: most");
    mesh.save("route.yaml", &[broken, reviews::plain("other", "7s")].concat()).await?;
    until(&mut client, |held| reviews::has_timeout(held, "other", "7s")).await?;
    assert!(splits(client.held(), BEFORE));
    Ok(())
}

#[tokio::test]
async fn a_deleted_file_deletes_its_objects() -> Result<()> {
    for form in [Form::Delta, Form::Sotw] {
        let mut mesh = mesh().await?;
        let mut client = mesh.client(form).await?;
        until(&mut client, |held| splits(held, BEFORE)).await?;
        let before = mesh.generation();
        mesh.remove("route.yaml")?;
        mesh.after(before).await?;
        until(&mut client, |held| splits(held, &[("-", 100)])).await?;

        let cluster = "outbound|9080||reviews.default.svc.cluster.local";
        assert!(client.held().resource(TypeUrl::Cluster, cluster).is_some());
        mesh.remove("app.yaml")?;
        until(&mut client, |held| {
            virtual_host(held, CONFIGURATION, "reviews").is_none()
                && held.resource(TypeUrl::Cluster, cluster).is_none()
        })
        .await?;
        assert!(virtual_host(client.held(), CONFIGURATION, "other").is_some());
    }
    Ok(())
}

#[tokio::test]
async fn of_an_object_that_is_there_twice_the_first_in_path_order_is_in_force() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = mesh.client(Form::Delta).await?;
    until(&mut client, |held| splits(held, BEFORE)).await?;
    // After `route.yaml`: not in force.
    mesh.write("second.yaml", &reviews::route(&[("v2", 100)]))?;
    mesh.save("timeout.yaml", &reviews::plain("other", "7s")).await?;
    until(&mut client, |held| reviews::has_timeout(held, "other", "7s")).await?;
    assert!(splits(client.held(), BEFORE));
    // Before it: in force.
    mesh.save("first.yaml", &reviews::route(&[("v1", 1), ("v2", 99)])).await?;
    until(&mut client, |held| splits(held, &[("v1", 1), ("v2", 99)])).await?;
    // One after the other goes; the next one takes its place.
    mesh.remove("first.yaml")?;
    until(&mut client, |held| splits(held, BEFORE)).await?;
    mesh.remove("route.yaml")?;
    until(&mut client, |held| splits(held, &[("v2", 100)])).await?;
    Ok(())
}

#[tokio::test]
async fn a_thousand_files_at_once_are_few_states_of_the_mesh() -> Result<()> {
    let mesh = mesh().await?;
    let mut client = mesh.client(Form::Delta).await?;
    until(&mut client, |held| splits(held, BEFORE)).await?;
    let before = mesh.generation();
    std::fs::create_dir(mesh.file("many"))?;
    for index in 0..1_000 {
        mesh.write(&format!("many/{index}.yaml"), &reviews::service(&format!("s{index}")))?;
    }
    let clusters = |client: &meltemi_testkit::xds::Held| client.names(TypeUrl::Cluster).len();
    let had = clusters(client.held());
    until(&mut client, |held| clusters(held) == had + 1_000).await?;
    let states = mesh.generation() - before;
    assert!(states <= 50, "{states} states of the mesh for 1,000 files");

    // A folder that is renamed into place is one.
    let (had, before) = (clusters(client.held()), mesh.generation());
    let outside = tempfile::tempdir_in(mesh.folder().parent().unwrap_or(mesh.folder()))?;
    for index in 0..1_000 {
        std::fs::write(outside.path().join(format!("{index}.yaml")), reviews::service(&format!("t{index}")))?;
    }
    std::fs::rename(outside.path(), mesh.file("more"))?;
    until(&mut client, |held| clusters(held) == had + 1_000).await?;
    assert_eq!(mesh.generation() - before, 1);
    Ok(())
}

#[tokio::test]
async fn a_swap_of_links_as_a_mounted_config_map_makes_it_is_one_change() -> Result<()> {
    let mut mesh = ControlPlane::start(&[("app.yaml", &reviews::app())]).await?;
    let write = |mesh: &ControlPlane, version: &str, rule: &str, route: &str| -> Result<()> {
        let folder = mesh.file(version);
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("rule.yaml"), rule)?;
        std::fs::write(folder.join("route.yaml"), route)?;
        std::os::unix::fs::symlink(version, mesh.file("..data_tmp"))?;
        Ok(std::fs::rename(mesh.file("..data_tmp"), mesh.file("..data"))?)
    };
    let before = mesh.generation();
    for name in ["rule.yaml", "route.yaml"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), mesh.file(name))?;
    }
    write(&mesh, "..2026_1", &reviews::rule(&["v1"]), &reviews::route(&[("v1", 100)]))?;
    mesh.after(before).await?;
    let mut client = mesh.client(Form::Delta).await?;
    until(&mut client, |held| splits(held, &[("v1", 100)])).await?;
    let before = mesh.generation();
    write(&mesh, "..2026_2", &reviews::rule(&["v2"]), &reviews::route(&[("v2", 100)]))?;
    std::fs::remove_dir_all(mesh.file("..2026_1"))?;
    assert_eq!(mesh.after(before).await?, before + 1);
    until(&mut client, |held| splits(held, &[("v2", 100)])).await?;
    assert_eq!(client.held().missing_clusters()?, Default::default());
    Ok(())
}

//! Which namespaces count: a mesh that only some of them have joined.

use anyhow::Result;
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held};
use meltemi_tests::control_plane::{ControlPlane, until};

use crate::reviews;

fn settings(selectors: &str) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: 'discoverySelectors: [{selectors}]'}}
"
    )
}

fn namespace(mesh: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{mesh: '{mesh}'}}}}}}")
}

fn has(held: &Held, host: &str) -> bool {
    held.names(TypeUrl::Cluster).iter().any(|name| name.contains(host))
}

#[tokio::test]
async fn a_namespace_joins_and_leaves_the_mesh_by_its_labels() -> Result<()> {
    const CART: &str = "cart.shop.svc.cluster.local";
    for form in [Form::Delta, Form::Sotw] {
        let cart = reviews::service("cart").replace("{name: cart}", "{name: cart, namespace: shop}");
        let here = "{matchLabels: {kubernetes.io/metadata.name: default}}";
        let mut mesh = ControlPlane::start(&[
            ("settings.yaml", &settings(&format!("{here}, {{matchLabels: {{mesh: \"on\"}}}}"))),
            ("here.yaml", &reviews::service("here")),
            // Before its Namespace is there, it is in a namespace without labels.
            ("cart.yaml", &cart),
        ])
        .await?;
        let mut client = mesh.client(form).await?;
        until(&mut client, |held| has(held, "here.default")).await?;
        assert!(!has(client.held(), CART));

        mesh.save("shop.yaml", &namespace("on")).await?;
        until(&mut client, |held| has(held, CART)).await?;
        mesh.save("shop.yaml", &namespace("off")).await?;
        until(&mut client, |held| !has(held, CART)).await?;
        // By other settings, too; and what was kept aside is as it is now, not as it was.
        mesh.write("cart.yaml", &cart.replace("{name: cart,", "{name: basket,"))?;
        mesh.save("settings.yaml", &settings("")).await?;
        until(&mut client, |held| has(held, "basket.shop.svc.cluster.local")).await?;
        assert!(!has(client.held(), CART));
        assert_eq!(client.held().missing_clusters()?, Default::default());
    }
    Ok(())
}

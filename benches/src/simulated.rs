//! A simulated sidecar of either spelling of the protocol, as bytes.
//!
//! Knows: which messages each spelling has. Must not know: sockets, the clock.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::meltemi::envelope::DiscoveryResponse;
use prost::Message;

use crate::answer::Answer;
use crate::catalogue::{Catalogue, KINDS};
use crate::frames;
use crate::requests::Requests;
use crate::sidecar::{Brought, Sidecar};
use crate::sotw::{Memory, Sotw};

/// Which spelling of the protocol a fleet speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Incremental.
    #[default]
    Delta,
    /// State-of-the-world.
    Sotw,
}

impl Form {
    /// The method of the stream.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Delta => "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            Self::Sotw => "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
        }
    }
}

/// What all sidecars of a fleet share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    pub(crate) catalogue: Catalogue,
    memory: Memory,
}

/// One simulated sidecar.
#[derive(Debug)]
pub(crate) enum Simulated {
    Delta(Box<Sidecar>),
    Sotw(Box<Sotw>),
}

impl Simulated {
    /// One that holds nothing.
    pub(crate) fn new(form: Form, node: Arc<Node>, common: &Common) -> Self {
        match form {
            Form::Delta => Self::Delta(Box::new(Sidecar::new(node, common.catalogue.clone()))),
            Form::Sotw => Self::Sotw(Box::new(Sotw::new(node, common.memory.clone()))),
        }
    }

    pub(crate) fn form(&self) -> Form {
        match self {
            Self::Delta(_) => Form::Delta,
            Self::Sotw(_) => Form::Sotw,
        }
    }

    /// The requests with which it opens a stream, framed.
    pub(crate) fn open(&mut self) -> BytesMut {
        match self {
            Self::Delta(sidecar) => sidecar.open().into_bytes(),
            Self::Sotw(sidecar) => framed(&sidecar.open()),
        }
    }

    /// Takes an answer; the requests that follow from it, framed, and what it brought.
    pub(crate) fn take(&mut self, message: Bytes) -> Result<(BytesMut, Brought)> {
        match self {
            Self::Delta(sidecar) => {
                let mut requests = Requests::default();
                let brought = sidecar.take(&Answer::read(&message)?, &mut requests)?;
                Ok((requests.into_bytes(), brought))
            }
            Self::Sotw(sidecar) => {
                let mut requests = Vec::new();
                let answer = DiscoveryResponse::decode(message).context("no discovery response")?;
                let brought = sidecar.take(&answer, &mut requests)?;
                Ok((framed(&requests), brought))
            }
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Delta(sidecar) => sidecar.is_settled(),
            Self::Sotw(sidecar) => sidecar.is_settled(),
        }
    }

    pub(crate) fn counts(&self) -> [usize; KINDS] {
        match self {
            Self::Delta(sidecar) => sidecar.counts(),
            Self::Sotw(sidecar) => sidecar.counts(),
        }
    }
}

fn framed(requests: &[impl Message]) -> BytesMut {
    let mut out = BytesMut::new();
    for request in requests {
        frames::put(request, &mut out);
    }
    out
}

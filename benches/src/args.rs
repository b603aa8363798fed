//! The command line of `meltemi-bench`, which `cargo xtask bench` passes on.
//!
//! Knows: what may be asked. Must not know: how it is done.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::goals::GoalArgs;
use crate::mesh::{Beside, Endpoints, Shape};

/// What a change costs: a server, simulated sidecars, and the machine's floor beside it in the same run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of measuring.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to measure.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The parts by themselves.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a mesh into a folder, for a server of one's own
    Mesh {
        /// The folder, which is made
        folder: PathBuf,
        /// Its size.
        #[command(flatten)]
        shape: ShapeArgs,
        /// What stands beside the services and their routing
        #[arg(long, value_enum, default_value_t = Beside::Nothing)]
        beside: Beside,
    },
    /// Measure each goal that the project has set itself, beside the floor, and say which are met: a quarter of an hour
    Goals(GoalArgs),
    /// Serve ready bytes to every stream; a line on standard input is a step
    Floor {
        /// Where to listen; port 0 takes a free one, which is printed
        #[arg(long, default_value = "127.0.0.1:0")]
        address: SocketAddr,
        /// Bytes of each answer, about
        #[arg(long, default_value_t = FLOOR_BYTES)]
        bytes: usize,
    },
    /// Hear of each file that is renamed into a folder, and read it
    Hear {
        /// The folder
        folder: PathBuf,
    },
}

/// What the goal allows one step to send to one sidecar.
pub const FLOOR_BYTES: usize = 1000;

/// The size of a mesh.
#[derive(Clone, Debug, Args)]
pub struct ShapeArgs {
    /// Services, each with two pods, a DestinationRule with two subsets and a VirtualService
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub services: usize,
    /// Namespaces that the services are spread over
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub namespaces: u16,
    /// How endpoints are written
    #[arg(long, value_enum, default_value_t = Endpoints::Slices)]
    pub endpoints: Endpoints,
}

impl ShapeArgs {
    /// The shape.
    pub fn shape(&self) -> Shape {
        Shape {
            services: self.services,
            namespaces: usize::from(self.namespaces),
            endpoints: self.endpoints,
            ..Shape::default()
        }
    }
}

/// What to measure.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The size of the mesh.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// How many sidecars, one run each; a run with one alone comes first in any case
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "100,1000")]
    pub clients: Vec<usize>,
    /// Steps per run; times are medians over them
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub steps: usize,
    /// Connections that the sidecars share (Meltemi takes 100 streams over one); 0 gives each its own, as Envoys have
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub connections: usize,
    /// A small mesh, few sidecars, counts only: for the continuous integration
    #[arg(long)]
    pub smoke: bool,
    /// How the report is printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// The server's binary, if it is not beside this one
    #[arg(long, value_name = "FILE")]
    pub meltemi: Option<PathBuf>,
    /// A server that runs already, any that speaks delta xDS; nothing is started but the floor
    #[arg(long, value_name = "ADDRESS")]
    pub against: Option<SocketAddr>,
    /// With `--against`: the process of that server, if it is on this machine, for CPU and memory
    #[arg(long, value_name = "PID", requires = "against")]
    pub pid: Option<u32>,
    /// With `--against`: where that server has its metrics, if it is a Meltemi
    #[arg(long, value_name = "ADDRESS", requires = "against")]
    pub metrics: Option<SocketAddr>,
    /// With `--against`: the folder that it reads, written by `mesh` with the same options
    #[arg(long, value_name = "DIR", requires = "against")]
    pub mesh: Option<PathBuf>,
    /// With `--against`: a shell command that makes a step, with STEP=0, 1, ... in its environment
    #[arg(long, value_name = "COMMAND", requires = "against", conflicts_with = "mesh")]
    pub change: Option<String>,
}

/// How the report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

//! How an input of `discovery_request` tells a stream's life: a form, then steps.
//!
//! One byte for the form (even: delta, odd: state of the world), then for each step one byte and what belongs to it. Any bytes are a
//! script, so that every mutation is one.

use meltemi_xds::Form;

/// Steps beyond these are not read: nothing needs so many, and a run stays short.
const STEPS: usize = 64;

/// One event.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// `0`, two bytes of length (little endian), an encoded request of the stream's form.
    Request(&'a [u8]),
    /// `1`: accepts the last response. `2`: refuses it.
    Answer {
        /// A NACK.
        refuses: bool,
    },
    /// `3`, two bytes: the mesh changes.
    Edit {
        /// Which resource.
        what: u8,
        /// Its new version; 0 removes it.
        value: u8,
    },
    /// `4`, one byte: so many times 50 ms go by.
    Wait {
        /// How long.
        milliseconds: u64,
    },
}

/// The script that these bytes are; none when there are none.
pub(crate) fn read(data: &[u8]) -> Option<(Form, Vec<Step<'_>>)> {
    let (form, mut rest) = data.split_first()?;
    let form = if form % 2 == 0 { Form::Delta } else { Form::Sotw };
    let mut steps = Vec::new();
    while steps.len() < STEPS
        && let Some(step) = next(&mut rest)
    {
        steps.push(step);
    }
    Some((form, steps))
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Step<'a>> {
    let byte = |rest: &mut &'a [u8]| {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        Some(*byte)
    };
    Some(match byte(rest)? % 5 {
        0 => {
            let length = usize::from(u16::from_le_bytes([byte(rest)?, byte(rest)?]));
            let (bytes, after) = rest.split_at(length.min(rest.len()));
            *rest = after;
            Step::Request(bytes)
        }
        1 => Step::Answer { refuses: false },
        2 => Step::Answer { refuses: true },
        3 => Step::Edit { what: byte(rest)?, value: byte(rest)? },
        _ => Step::Wait { milliseconds: u64::from(byte(rest)?) * 50 },
    })
}

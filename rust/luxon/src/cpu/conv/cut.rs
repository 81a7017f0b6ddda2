//! How results are cut into tiles: channels by vectors of positions, or positions by vectors of channels.

use std::ops::Range;

use super::tile::{Panels, Piece, Set};

/// How the channels of a result are cut: parts whose packed weights lie by term.
pub(super) enum Cut {
    /// The rows of tiles.
    Panels(Panels),
    /// Vectors of tiles whose rows are positions; the last strip's rest is zero.
    Strips {
        /// Channels of a strip.
        width: usize,
        /// Channels in all.
        channels: usize,
        /// Positions, which are cut as well.
        positions: Panels,
        /// Where they are in the buffer.
        places: Vec<u32>,
    },
}

impl Cut {
    /// The cheaper way for `channels` channels of results of sizes `out`.
    pub fn new<T>(
        set: &Set<T>,
        channels: usize,
        out: [usize; 3],
        pitch: [usize; 3],
        strips: bool,
    ) -> (Cut, Vec<Piece>) {
        let pieces = pieces(out, pitch, set.lanes);
        let count: usize = out.iter().product();
        let lanes = |used: usize| used.next_multiple_of(set.lanes) as f64 / used as f64;
        // The transposition costs a little.
        if !strips || 1.1 * lanes(channels) >= (pieces.len() * set.lanes) as f64 / count as f64 {
            return (Cut::Panels(Panels::new(channels, set.correlate.len())), pieces);
        }
        let width = if channels > set.lanes { 2 * set.lanes } else { set.lanes };
        let positions = Panels::new(count, set.spread[width / set.lanes - 1].len());
        let places = (0..count).map(|at| {
            let (row, column) = (at / out[2], at % out[2]);
            (row / out[1] * pitch[0] + row % out[1] * pitch[1] + column) as u32
        });
        (Cut::Strips { width, channels, positions, places: places.collect() }, pieces)
    }

    /// The number of parts.
    pub fn count(&self) -> usize {
        match self {
            Cut::Panels(panels) => panels.count,
            Cut::Strips { width, channels, .. } => channels.div_ceil(*width),
        }
    }

    /// The channels of a part.
    pub fn channels(&self, part: usize) -> Range<usize> {
        match self {
            Cut::Panels(panels) => panels.start(part)..panels.start(part + 1),
            Cut::Strips { width, channels, .. } => part * width..((part + 1) * width).min(*channels),
        }
    }

    /// Packed weights of a term.
    pub fn width(&self, part: usize) -> usize {
        match self {
            Cut::Panels(_) => self.channels(part).len(),
            Cut::Strips { width, .. } => *width,
        }
    }

    /// Vectors of results, of which so many cover a channel's positions.
    pub fn vectors(&self, pieces: usize, lanes: usize) -> f64 {
        match self {
            Cut::Panels(panels) => (panels.start(panels.count) * pieces) as f64,
            Cut::Strips { places, .. } => (self.total() / lanes * places.len()) as f64,
        }
    }

    /// Packed weights of a term of all parts.
    pub fn total(&self) -> usize {
        (0..self.count()).map(|part| self.width(part)).sum()
    }
}

/// The vectors that cover the positions of an output of sizes `out` in a buffer of the given pitches: each begins at
/// the first position that is not covered yet.
fn pieces(out: [usize; 3], pitch: [usize; 3], lanes: usize) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut to = 0u32;
    for outer in 0..out[0] {
        for middle in 0..out[1] {
            let row = (outer * pitch[0] + middle * pitch[1]) as u32;
            let mut column = 0;
            while column < out[2] {
                let from = row + column as u32;
                let lanes = lanes as u32;
                let (last, shift) = match pieces.last_mut() {
                    Some(piece) if from - piece.from < lanes => {
                        let shift = from - piece.from;
                        (piece, shift)
                    }
                    _ => {
                        pieces.push(Piece { from, to, lanes: 0 });
                        let end = pieces.len() - 1;
                        (&mut pieces[end], 0)
                    }
                };
                let count = (lanes - shift).min((out[2] - column) as u32);
                last.lanes |= (((1u64 << count) - 1) << shift) as u32;
                to += count;
                column += count as usize;
            }
        }
    }
    pieces
}

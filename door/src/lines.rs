//! Bytes become lines.

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::MAX_LINE;

/// A line longer than [`MAX_LINE`]: what follows it cannot be trusted to begin where it seems to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {MAX_LINE} bytes")]
pub struct LineTooLong;

/// Cuts what comes into lines. Holds one line at most, and what came with its end.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: BytesMut,
    /// So many have no line end in them.
    searched: usize,
}

impl Lines {
    /// Where to put what comes.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// The next whole line, without its end; empty ones are passed over.
    ///
    /// # Errors
    /// The line is too long, whether its end has come or not.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                return if self.searched > MAX_LINE { Err(LineTooLong) } else { Ok(None) };
            };
            let mut line = self.bytes.split_to(self.searched + end);
            self.bytes.advance(1);
            self.searched = 0;
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            match line.len() {
                0 => {}
                length if length > MAX_LINE => return Err(LineTooLong),
                _ => return Ok(Some(line.freeze())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let text = b"one\n\r\ntwo\r\n\nthree\nrest";
        for step in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in text.chunks(step) {
                lines.buffer().extend_from_slice(piece);
                while let Some(line) = lines.next_line().unwrap() {
                    seen.push(line);
                }
            }
            assert_eq!(seen, ["one", "two", "three"], "in pieces of {step}");
            assert_eq!(lines.buffer(), "rest");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
        let mut lines = Lines::default();
        lines.buffer().resize(MAX_LINE, b'x');
        assert_eq!(lines.next_line(), Ok(None));
        lines.buffer().extend_from_slice(b"x");
        assert_eq!(lines.next_line(), Err(LineTooLong));
    }
}

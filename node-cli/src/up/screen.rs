//! The terminal while a live view is on it: drawn in place, and given back as it was.

use std::io::{self, BufWriter, Stdout, Write};

use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::{cursor, execute, queue, terminal};

use super::picture::{Look, Picture};

/// Columns and rows where the terminal does not tell.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// A second page of the terminal. Dropped, the first one is back.
pub(super) struct Screen {
    out: BufWriter<Stdout>,
    /// <https://no-color.org>
    colors: bool,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let mut out = BufWriter::new(io::stdout());
        execute!(out, terminal::EnterAlternateScreen, cursor::Hide)?;
        let colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Screen { out, colors })
    }

    /// Draws over what was there, without blanking it first: nothing flickers.
    pub(super) fn draw(&mut self, picture: &Picture) -> io::Result<()> {
        let (width, height) = terminal::size().unwrap_or(USUAL_SIZE);
        for (row, line) in picture.lines(width.into(), height.into()).into_iter().enumerate() {
            queue!(self.out, cursor::MoveTo(0, row as u16))?;
            for (look, text) in line {
                self.put_on(look)?;
                queue!(self.out, Print(text), SetAttribute(Attribute::Reset), ResetColor)?;
            }
            queue!(self.out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        }
        queue!(self.out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
        self.out.flush()
    }

    fn put_on(&mut self, look: Look) -> io::Result<()> {
        match look {
            Look::Plain => Ok(()),
            Look::Strong => queue!(self.out, SetAttribute(Attribute::Bold)),
            Look::Faint => queue!(self.out, SetAttribute(Attribute::Dim)),
            Look::Joined if self.colors => queue!(self.out, SetForegroundColor(Color::Green)),
            Look::Joining if self.colors => queue!(self.out, SetForegroundColor(Color::Yellow)),
            Look::Joined | Look::Joining => Ok(()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(self.out, cursor::Show, terminal::LeaveAlternateScreen);
    }
}

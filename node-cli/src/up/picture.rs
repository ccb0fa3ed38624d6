//! The ring as a picture of characters: an ellipse of nodes in the order of their ids, clockwise from the top.

use std::f64::consts::TAU;

use atoll::Id;

/// Rows that the ellipse takes at most: a taller one is no clearer.
const MAX_ROWS: usize = 24;

/// Columns of the ellipse for each of its rows. A character is about twice as high as it is wide.
const COLUMNS_PER_ROW: f64 = 2.2;

/// Rows below which the ellipse is left out.
const MIN_ROWS: usize = 5;

/// A node of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dot {
    pub(super) id: Id,
    pub(super) links: usize,
    pub(super) joined: bool,
}

/// All that the live view shows.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) title: String,
    pub(super) state: String,
    /// In the order of their ids.
    pub(super) dots: Vec<Dot>,
    pub(super) commands: Vec<String>,
    /// Where a tab becomes one more node.
    pub(super) browser: String,
    pub(super) latest: Vec<String>,
}

/// How a piece of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Strong,
    Faint,
    /// A node on the ring.
    Joined,
    /// A node that is not there yet.
    Joining,
}

/// A line: pieces of text, each with its look.
pub(super) type Line = Vec<(Look, String)>;

impl Picture {
    /// The lines for a terminal of this size: none longer, and not more.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let mut above =
            vec![vec![(Look::Strong, self.title.clone())], vec![(Look::Plain, self.state.clone())], Vec::new()];
        let mut below = vec![Vec::new(), vec![(Look::Plain, "In another terminal:".to_owned())]];
        below.extend(self.commands.iter().map(|command| vec![(Look::Strong, format!("  {command}"))]));
        below.push(vec![(Look::Plain, "In a browser: ".to_owned()), (Look::Strong, self.browser.clone())]);
        below.extend(self.latest.iter().map(|text| vec![(Look::Faint, text.clone())]));
        below.push(vec![(Look::Plain, "Ctrl-C leaves the ring.".to_owned())]);
        let rows = height.saturating_sub(above.len() + below.len()).min(MAX_ROWS);
        if rows >= MIN_ROWS {
            above.extend(self.ring(width, rows));
        }
        above.append(&mut below);
        above.truncate(height);
        above.into_iter().map(|line| cut(line, width)).collect()
    }

    fn ring(&self, width: usize, rows: usize) -> Vec<Line> {
        let mut canvas = Canvas::new(width, rows);
        let label = "● 00f3a1b2c4d5 64 links".chars().count();
        let high = (rows - 1) as f64 / 2.0;
        let room = (width.saturating_sub(2 * label) as f64 / 2.0).max(4.0);
        let wide = (high * COLUMNS_PER_ROW).min(room);
        let (x, y) = (width as f64 / 2.0, high);
        let at = |turn: f64| (x + wide * turn.sin(), y - high * turn.cos());
        let steps = rows * 8;
        for step in 0..steps {
            canvas.put(at(TAU * step as f64 / steps as f64), Look::Faint, "·");
        }
        let turn = |index: usize| TAU * index as f64 / self.dots.len() as f64;
        for (index, dot) in self.dots.iter().enumerate() {
            let (mark, look) = if dot.joined { ("●", Look::Joined) } else { ("○", Look::Joining) };
            canvas.put(at(turn(index)), look, mark);
        }
        for (index, dot) in self.dots.iter().enumerate() {
            let links = if dot.links == 1 { "1 link".to_owned() } else { format!("{} links", dot.links) };
            let text = if dot.joined { format!("{} {links}", dot.id) } else { format!("{} joining", dot.id) };
            let (column, row) = at(turn(index));
            let left = column < x - 0.5;
            // With the blank that parts it from the mark.
            let text = if left { format!("{text} ") } else { format!(" {text}") };
            let start = if left { column - text.chars().count() as f64 } else { column + 1.0 };
            canvas.put_if_free((start, row), Look::Plain, &text);
        }
        canvas.into_lines()
    }
}

/// Cuts a line at the edge of the terminal.
fn cut(line: Line, width: usize) -> Line {
    let mut left = width;
    line.into_iter()
        .map(|(look, text)| {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            (look, text)
        })
        .collect()
}

struct Canvas {
    width: usize,
    cells: Vec<Vec<(Look, char)>>,
}

impl Canvas {
    fn new(width: usize, rows: usize) -> Self {
        Canvas { width, cells: vec![vec![(Look::Plain, ' '); width]; rows] }
    }

    /// Writes over whatever is there; what lies outside is left out.
    fn put(&mut self, (column, row): (f64, f64), look: Look, text: &str) {
        let Some(cells) = self.cells.get_mut(row.round() as usize) else { return };
        let start = column.round() as usize;
        for (cell, letter) in cells.iter_mut().skip(start).zip(text.chars()) {
            *cell = (look, letter);
        }
    }

    /// Writes a text only where it covers no other: a dot without a label is better than two labels in one.
    fn put_if_free(&mut self, (column, row): (f64, f64), look: Look, text: &str) {
        let (start, length) = (column.round(), text.chars().count());
        if start < 0.0 || start as usize + length > self.width {
            return;
        }
        let Some(cells) = self.cells.get(row.round() as usize) else { return };
        if cells[start as usize..start as usize + length].iter().all(|(_, letter)| matches!(letter, ' ' | '·')) {
            self.put((column, row), look, text);
        }
    }

    fn into_lines(self) -> Vec<Line> {
        self.cells.into_iter().map(pieces).collect()
    }
}

/// The cells of a row, those of one look together.
fn pieces(cells: Vec<(Look, char)>) -> Line {
    let mut line: Line = Vec::new();
    for (look, letter) in cells {
        match line.last_mut() {
            Some((last, text)) if *last == look => text.push(letter),
            _ => line.push((look, letter.to_string())),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(nodes: u64) -> Picture {
        let dot = |n| Dot { id: Id::new(n << 40), links: n as usize, joined: n != 1 };
        Picture {
            title: "Atoll".into(),
            state: "joining".into(),
            dots: (0..nodes).map(dot).collect(),
            commands: vec!["node-cli dial 00f3a1b2c4d5".into()],
            browser: "http://127.0.0.1:9000/".into(),
            latest: vec!["something happened".into()],
        }
    }

    fn text(picture: &Picture, width: usize, height: usize) -> Vec<String> {
        let line = |line: Line| line.into_iter().map(|(_, text)| text).collect();
        picture.lines(width, height).into_iter().map(line).collect()
    }

    #[test]
    fn eight_nodes_stand_on_a_screen_of_80_by_24_with_their_labels() {
        let lines = text(&picture(8), 80, 24);
        let all = lines.join("\n");
        for dot in picture(8).dots {
            assert!(all.contains(&dot.id.to_string()), "{} is missing in\n{all}", dot.id);
        }
        assert!(all.contains("000000000000 0 links") && all.contains("010000000000 joining"), "{all}");
        assert!(all.contains("node-cli dial 00f3a1b2c4d5") && all.contains("http://127.0.0.1:9000/"), "{all}");
    }

    #[test]
    fn no_line_is_longer_and_no_picture_higher_than_the_terminal() {
        for (nodes, width, height) in [(8, 80, 24), (256, 80, 24), (32, 200, 60), (1, 20, 8), (8, 1, 1), (3, 0, 0)] {
            let lines = text(&picture(nodes), width, height);
            assert!(lines.len() <= height, "{} lines on {height}", lines.len());
            for line in &lines {
                assert!(line.chars().count() <= width, "{line:?} on {width} columns");
            }
        }
    }
}

//! Lines of coloured pieces that wrap between groups.

use anstyle::{AnsiColor, Style};

/// How a piece looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    /// Less important.
    Dim,
    /// A heading, or a hop's letter.
    Strong,
    /// Differs from the hop before.
    Changed,
    Good,
    Bad,
}

impl Look {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Dim => Style::new().dimmed(),
            Self::Strong => AnsiColor::Cyan.on_default().bold(),
            Self::Changed => AnsiColor::Yellow.on_default().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// Text that is not broken.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    text: String,
    look: Look,
}

/// A piece that looks so.
pub(super) fn piece(text: impl ToString, look: Look) -> Piece {
    Piece {
        text: text.to_string(),
        look,
    }
}

/// A page that grows downwards.
pub(super) struct Page {
    text: String,
    width: usize,
    colour: bool,
}

impl Page {
    pub(super) const fn new(width: usize, colour: bool) -> Self {
        Self {
            text: String::new(),
            width,
            colour,
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A line of pieces as they are.
    pub(super) fn line(&mut self, pieces: &[Piece]) {
        self.pieces(pieces);
        self.text.push('\n');
    }

    /// Pieces on the left and on the right, on two lines if they do not fit into one.
    pub(super) fn spread(&mut self, left: &[Piece], right: &[Piece]) {
        let (left_width, right_width) = (self.measure(left), self.measure(right));
        self.pieces(left);
        if right_width > 0 {
            let gap = match (left_width + right_width + 2).checked_sub(self.width) {
                None | Some(0) => self.width - left_width - right_width,
                Some(_) => {
                    self.text.push('\n');
                    self.width.saturating_sub(right_width)
                }
            };
            self.spaces(gap);
            self.pieces(right);
        }
        self.text.push('\n');
    }

    /// Groups behind a label, as many on a line as fit, the others below the first.
    pub(super) fn groups(&mut self, label: &[Piece], groups: &[Vec<Piece>], between: &str) {
        self.pieces(label);
        let indent = self.measure(label);
        let mut at = indent;
        for (number, group) in groups.iter().enumerate() {
            let length = self.measure(group);
            if number > 0 {
                let gap = between.chars().count();
                if at + gap + length > self.width {
                    self.text.push('\n');
                    self.spaces(indent);
                    at = indent;
                } else {
                    self.pieces(&[piece(between, Look::Dim)]);
                    at += gap;
                }
            }
            self.pieces(group);
            at += length;
        }
        self.text.push('\n');
    }

    fn spaces(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
    }

    fn pieces(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            let text = self.shown(piece);
            if self.colour && piece.look != Look::Plain {
                let style = piece.look.style();
                self.text.push_str(&format!("{style}{text}{style:#}"));
            } else {
                self.text.push_str(&text);
            }
        }
    }

    /// Without colour a star stands for it.
    fn shown(&self, piece: &Piece) -> String {
        match (piece.look, self.colour) {
            (Look::Changed, false) => format!("*{}", piece.text),
            _ => piece.text.clone(),
        }
    }

    fn measure(&self, pieces: &[Piece]) -> usize {
        pieces
            .iter()
            .map(|piece| self.shown(piece).chars().count())
            .sum()
    }
}

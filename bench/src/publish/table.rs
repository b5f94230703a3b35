//! Tables in Markdown.

/// A table that grows row by row.
#[derive(Debug)]
pub(super) struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// An empty one.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = Self {
            columns: headings.len(),
            text: String::new(),
        };
        table.row(
            headings
                .iter()
                .map(|heading| (*heading).to_owned())
                .collect(),
        );
        table.text += &format!("|{}\n", "---|".repeat(table.columns));
        table
    }

    /// Adds a row; missing cells are empty.
    pub(super) fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns, String::new());
        for cell in &mut cells {
            *cell = cell.replace('|', "\\|");
        }
        self.text += &format!("| {} |\n", cells.join(" | "));
    }

    /// All of it.
    pub(super) fn text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_all_their_cells() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec!["1|2".to_owned()]);
        assert_eq!(table.text(), "| a | b |\n|---|---|\n| 1\\|2 |  |\n");
    }
}

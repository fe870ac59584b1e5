//! The little Markdown that the error pages are written in: headings, paragraphs, lists, fences, `code`.

use super::escape;

/// As HTML.
pub(super) fn render(text: &str) -> String {
    let mut html = String::new();
    let mut open = Block::None;
    for line in text.lines() {
        if open == Block::Fence {
            if line.starts_with("```") {
                open.close(&mut html);
            } else {
                html.push_str(&escape(line));
                html.push('\n');
            }
            continue;
        }
        let heading = line.chars().take_while(|char| *char == '#').count();
        match line {
            _ if line.starts_with("```") => open.switch(Block::Fence, &mut html),
            _ if line.trim().is_empty() => open.close(&mut html),
            _ if (1..=3).contains(&heading) => {
                open.close(&mut html);
                let text = inline(line.trim_start_matches('#').trim());
                html.push_str(&format!("<h{heading}>{text}</h{heading}>"));
            }
            _ if line.starts_with("- ") || line.starts_with("* ") => {
                open.switch(Block::List, &mut html);
                html.push_str(&format!("<li>{}", inline(line.get(2..).unwrap_or_default())));
            }
            _ => {
                if open == Block::None {
                    open.switch(Block::Paragraph, &mut html);
                }
                html.push_str(&inline(line));
                html.push('\n');
            }
        }
    }
    open.close(&mut html);
    html
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Paragraph,
    List,
    Fence,
}

impl Block {
    fn switch(&mut self, next: Self, html: &mut String) {
        if *self == next && next == Self::List {
            return;
        }
        self.close(html);
        *self = next;
        html.push_str(match next {
            Self::None => "",
            Self::Paragraph => "<p>",
            Self::List => "<ul>",
            Self::Fence => "<pre><code>",
        });
    }

    fn close(&mut self, html: &mut String) {
        html.push_str(match self {
            Self::None => "",
            Self::Paragraph => "</p>",
            Self::List => "</ul>",
            Self::Fence => "</code></pre>",
        });
        *self = Self::None;
    }
}

/// Text between backticks becomes code; everything is escaped.
pub(super) fn inline(text: &str) -> String {
    let mut html = String::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            html.push_str(&format!("<code>{}</code>", escape(part)));
        } else {
            html.push_str(&escape(part));
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_closed_and_markup_is_escaped() {
        let html = render("# A <b>\n\nText with `x<y`\ngoes on.\n\n- one\n- two\n\n```\na < b\n```\n");
        let expected = "<h1>A &lt;b&gt;</h1><p>Text with <code>x&lt;y</code>\ngoes on.\n</p>\
                        <ul><li>one<li>two</ul><pre><code>a &lt; b\n</code></pre>";
        assert_eq!(html, expected);
    }
}

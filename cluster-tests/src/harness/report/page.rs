//! Writing well-formed HTML: every text is escaped, every element that is opened is closed.

/// A page being written.
#[derive(Debug, Default)]
pub struct Page {
    out: String,
}

/// An element that is opened, with its attributes.
pub struct Tag {
    name: &'static str,
    attributes: String,
}

impl Tag {
    /// Without attributes.
    pub fn new(name: &'static str) -> Self {
        Self { name, attributes: String::new() }
    }

    /// With one more.
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.attributes.push_str(&format!(" {name}=\"{}\"", escaped(&value.to_string())));
        self
    }
}

/// Text as HTML holds it; what XML has no character for is left out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

impl Page {
    /// The head of it, up to the begin of its body.
    pub fn begin(&mut self, title: &str, style: &str) {
        self.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
        self.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
        self.raw("<meta name=\"color-scheme\" content=\"light dark\"/>\n");
        self.element("title", "", title);
        self.raw(&format!("<style>\n{style}</style>\n</head>\n<body>\n"));
    }

    /// As it is: the caller vouches for it.
    pub fn raw(&mut self, html: &str) {
        self.out.push_str(html);
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.out.push_str(&escaped(text));
    }

    /// An element with something in it.
    pub fn tag(&mut self, tag: Tag, inside: impl FnOnce(&mut Self)) {
        self.raw(&format!("<{}{}>", tag.name, tag.attributes));
        inside(self);
        self.raw(&format!("</{}>\n", tag.name));
    }

    /// An element that is empty.
    pub fn empty(&mut self, tag: Tag) {
        self.raw(&format!("<{}{}/>\n", tag.name, tag.attributes));
    }

    /// An element with text in it, of that class.
    pub fn element(&mut self, name: &'static str, class: &str, text: &str) {
        let tag = if class.is_empty() { Tag::new(name) } else { Tag::new(name).with("class", class) };
        self.tag(tag, |page| page.text(text));
    }

    /// A part of the page, with a heading.
    pub fn section(&mut self, id: &str, heading: &str, inside: impl FnOnce(&mut Self)) {
        self.tag(Tag::new("section").with("id", id), |page| {
            page.element("h2", "", heading);
            inside(page);
        });
    }

    /// A part that opens when asked to.
    pub fn details(&mut self, summary: &str, inside: impl FnOnce(&mut Self)) {
        self.tag(Tag::new("details"), |page| {
            page.element("summary", "", summary);
            inside(page);
        });
    }

    /// A table.
    pub fn table(&mut self, heads: &[&str], rows: impl FnOnce(&mut Rows<'_>)) {
        self.raw("<div class=\"scroll\"><table>\n<thead><tr>");
        heads.iter().for_each(|head| self.element("th", "", head));
        self.raw("</tr></thead>\n<tbody>\n");
        rows(&mut Rows(self));
        self.raw("</tbody></table></div>\n");
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.out
    }
}

/// Rows of a table.
pub struct Rows<'a>(&'a mut Page);

impl Rows<'_> {
    /// One more.
    pub fn row(&mut self, class: &str, cells: &[String]) {
        let tag = if class.is_empty() { Tag::new("tr") } else { Tag::new("tr").with("class", class) };
        self.0.tag(tag, |page| cells.iter().for_each(|cell| page.element("td", "", cell)));
    }
}

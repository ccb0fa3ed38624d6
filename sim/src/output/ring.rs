//! The ring as a drawing: nodes on a circle, links as chords, and the way of one lookup, as SVG.

use std::fmt::Write;

use atoll::id::Id;
use libm::{cos, sin};

/// Nodes with their names beside them at most.
const MAX_NAMED: usize = 48;

/// Width and height of the drawing, in its own units.
const SIZE: f64 = 800.0;

/// Radius of the circle that the nodes stand on.
const RADIUS: f64 = 310.0;

/// How far from the nodes their names stand.
const NAME_GAP: f64 = 14.0;

/// How strongly the longest chord bends towards the middle: 0 is straight, 1 goes through the middle. Shorter ones bend less.
const BEND: f64 = 0.45;

/// Names that would stand nearer to each other than this share of the ring are left out.
const NAME_ROOM: f64 = 0.007;

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// The line below the ring.
    pub caption: String,
    /// The nodes.
    pub nodes: Vec<Id>,
    /// Pairs with a link between them.
    pub links: Vec<(Id, Id)>,
    /// The nodes that a lookup came by, from the one that asked to the owner.
    pub path: Vec<Id>,
    /// The key that was looked up.
    pub key: Option<Id>,
}

impl Drawing {
    /// The drawing as the text of an SVG file. It has no background, and grey tones that stand out on light and on dark ones.
    pub fn to_svg(&self) -> String {
        let mut svg = String::new();
        // Writing into a String cannot fail.
        let _ = self.write(&mut svg);
        svg
    }

    fn write(&self, svg: &mut String) -> std::fmt::Result {
        let half = SIZE / 2.0;
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"{} {} {SIZE} {SIZE}\" font-family=\"ui-monospace, \
             Menlo, Consolas, monospace\" font-size=\"11\" role=\"img\">",
            -half, -half
        )?;
        writeln!(svg, "<title>{}</title>", escaped(&self.caption))?;
        writeln!(
            svg,
            "<style>.ring{{fill:none;stroke:#888;stroke-opacity:.5}}.link{{fill:none;stroke:#3b82c4;stroke-opacity:{}}}\
             .node{{fill:#888}}.path{{fill:none;stroke:#e8590c;stroke-width:2.5}}.on-path{{fill:#e8590c}}\
             .owner{{fill:#2f9e44}}.key{{fill:#2f9e44;stroke:none}}text{{fill:#888}}.named{{fill:#e8590c;font-weight:bold}}\
             </style>",
            self.link_opacity()
        )?;
        writeln!(
            svg,
            "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"5\" markerHeight=\"5\" \
             orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#e8590c\"/></marker></defs>"
        )?;
        writeln!(svg, "<circle class=\"ring\" r=\"{RADIUS}\"/>")?;
        for &(a, b) in &self.links {
            writeln!(svg, "<path class=\"link\" d=\"{}\"/>", chord(a, b))?;
        }
        for step in self.path.windows(2) {
            writeln!(svg, "<path class=\"path\" marker-end=\"url(#arrow)\" d=\"{}\"/>", chord(step[0], step[1]))?;
        }
        let named = self.named();
        self.nodes.iter().try_for_each(|&node| self.write_node(svg, node, named.contains(&node)))?;
        if let Some(key) = self.key {
            let (x, y) = at(key, RADIUS + NAME_GAP / 2.0);
            writeln!(
                svg,
                "<circle class=\"key\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>key {key}</title></circle>"
            )?;
        }
        writeln!(
            svg,
            "<text x=\"0\" y=\"{}\" text-anchor=\"middle\" font-size=\"14\">{}</text>",
            half - 14.0,
            escaped(&self.caption)
        )?;
        svg.push_str("</svg>\n");
        Ok(())
    }

    fn write_node(&self, svg: &mut String, node: Id, named: bool) -> std::fmt::Result {
        let (x, y) = at(node, RADIUS);
        let class = match self.path.iter().position(|&hop| hop == node) {
            Some(hop) if hop + 1 == self.path.len() => "owner",
            Some(_) => "on-path",
            None => "node",
        };
        let on_path = class != "node";
        let radius = if on_path { 6.0 } else { self.node_radius() };
        writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{node}</title></circle>"
        )?;
        if !named {
            return Ok(());
        }
        let (x, y) = at(node, RADIUS + NAME_GAP);
        // Names lie along the radius, and none stands on its head.
        let degrees = turn(node) * 360.0 - 90.0;
        let (degrees, anchor) =
            if (90.0..270.0).contains(&degrees) { (degrees - 180.0, "end") } else { (degrees, "start") };
        let class = if on_path { " class=\"named\"" } else { "" };
        writeln!(
            svg,
            "<text{class} text-anchor=\"{anchor}\" dominant-baseline=\"central\" \
             transform=\"translate({x:.1} {y:.1}) rotate({degrees:.1})\">{}</text>",
            &node.to_string()[..4]
        )
    }

    /// The nodes whose names are written: those on the way first, and where there is room the others of a small ring.
    fn named(&self) -> Vec<Id> {
        let others = self.nodes.iter().filter(|_| self.nodes.len() <= MAX_NAMED);
        let mut named: Vec<Id> = Vec::new();
        for &node in self.path.iter().chain(others) {
            if named.iter().all(|&other| apart(node, other) > 2.0 * NAME_ROOM) {
                named.push(node);
            }
        }
        named
    }

    /// Many links are drawn faintly, so that their density shows.
    fn link_opacity(&self) -> f64 {
        (60.0 / self.links.len().max(1) as f64).clamp(0.04, 0.5)
    }

    fn node_radius(&self) -> f64 {
        (400.0 / self.nodes.len().max(1) as f64).clamp(0.8, 5.0)
    }
}

/// Where on the ring an id stands: 0 is at the top, and it goes clockwise.
fn turn(id: Id) -> f64 {
    id.number() as f64 / (Id::MAX.number() as f64 + 1.0)
}

/// How far apart two ids are: 1 is half the ring.
fn apart(a: Id, b: Id) -> f64 {
    2.0 * a.distance(b) as f64 / (Id::MAX.number() as f64 + 1.0)
}

fn at(id: Id, radius: f64) -> (f64, f64) {
    let angle = turn(id) * std::f64::consts::TAU;
    (radius * sin(angle), -radius * cos(angle))
}

fn chord(a: Id, b: Id) -> String {
    let ((ax, ay), (bx, by)) = (at(a, RADIUS), at(b, RADIUS));
    let straight = 1.0 - BEND * apart(a, b).sqrt();
    let (mx, my) = ((ax + bx) / 2.0 * straight, (ay + by) / 2.0 * straight);
    format!("M{ax:.1} {ay:.1}Q{mx:.1} {my:.1} {bx:.1} {by:.1}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quarters() -> Vec<Id> {
        (0..4).map(|quarter| Id::new(quarter << 46)).collect()
    }

    #[test]
    fn ids_go_clockwise_from_the_top() {
        let places: Vec<(i64, i64)> =
            quarters().into_iter().map(|id| at(id, 10.0)).map(|(x, y)| (x.round() as i64, y.round() as i64)).collect();
        assert_eq!(places, [(0, -10), (10, 0), (0, 10), (-10, 0)]);
    }

    #[test]
    fn every_node_link_and_hop_is_drawn() {
        let nodes = quarters();
        let drawing = Drawing {
            caption: "a < b".to_owned(),
            links: vec![(nodes[0], nodes[2]), (nodes[1], nodes[3])],
            path: vec![nodes[0], nodes[2], nodes[3]],
            key: Some(Id::new(7)),
            nodes,
        };
        let svg = drawing.to_svg();
        let count = |what: &str| svg.matches(what).count();
        assert_eq!(count("<path class=\"link\""), 2);
        assert_eq!(count("<path class=\"path\""), 2);
        assert_eq!((count("class=\"owner\""), count("class=\"on-path\""), count("class=\"node\"")), (1, 2, 1));
        assert_eq!(count("class=\"key\""), 1);
        assert!(svg.contains("a &lt; b"), "{svg}");
    }

    #[test]
    fn a_crowded_ring_names_only_the_way() {
        let nodes: Vec<Id> = (0..200).map(|at| Id::new(at << 40)).collect();
        let path = vec![nodes[3], nodes[77]];
        let svg = Drawing { nodes, path, ..Drawing::default() }.to_svg();
        assert_eq!(svg.matches("<text class=\"named\"").count(), 2);
        assert_eq!(svg.matches("<text").count(), 3, "two names and the caption");
    }
}

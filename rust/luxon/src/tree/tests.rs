use proptest::prelude::*;

use super::*;

fn dense(start: i32) -> Tree<i32> {
    Tree::mapping([("weight", Tree::leaf(start)), ("bias", Tree::leaf(start + 1))]).unwrap()
}

fn model() -> Tree<i32> {
    let pair = Tree::sequence([Tree::leaf(20), Tree::leaf(21)]).unwrap();
    Tree::mapping([("a", dense(0)), ("b", dense(10)), ("carry", pair)]).unwrap()
}

fn group(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| path.to_string()).collect()
}

fn contents(tree: &Tree<i32>) -> Vec<(String, i32)> {
    tree.places().map(|(path, leaf)| (path, *leaf)).collect()
}

#[test]
fn equal_structures_are_one() {
    assert!(Arc::ptr_eq(model().structure(), model().structure()));
    assert!(Arc::ptr_eq(model().child(0).unwrap().structure(), dense(5).structure()));
    let tied = || model().tie(&[group(&["a", "b"])]).unwrap();
    assert!(Arc::ptr_eq(tied().structure(), tied().structure()));
    assert!(!Arc::ptr_eq(tied().structure(), model().structure()));
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| (0..200).map(|_| model()).next_back())).collect();
    for thread in threads {
        assert_eq!(contents(&thread.join().unwrap().unwrap()), contents(&model()));
    }
}

#[test]
fn paths_and_parts() {
    let tree = model();
    assert_eq!(tree.get("b.bias").unwrap().value(), Some(&11));
    assert_eq!(tree.get("carry.1").unwrap().value(), Some(&21));
    assert!(tree.find("carry.01").is_none() && tree.find("carry.2").is_none() && tree.find("a.weight.x").is_none());
    let message = tree.get("b.bais").err().unwrap().to_string();
    assert!(message.contains("nearest: b.bias"), "{message}");
    assert_eq!(contents(&tree.get("b").unwrap()), [("weight".into(), 10), ("bias".into(), 11)]);
    assert!(tree.structure().all_paths().contains(&"carry".to_string()));
    let many = Tree::mapping((0..100).map(|index| (NAMES[index], Tree::leaf(index)))).unwrap();
    for index in 0..100 {
        assert_eq!(many.structure().position(NAMES[index]), Some(index));
    }
    assert_eq!(many.structure().position("none"), None);
    assert!(Tree::mapping([("x", Tree::leaf(1)), ("x", Tree::leaf(2))]).is_err());
    assert!(Tree::mapping([("x.y", Tree::leaf(1))]).is_err());
}

static NAMES: std::sync::LazyLock<Vec<&'static str>> =
    std::sync::LazyLock::new(|| (0..100).map(|index| &*Box::leak(format!("layer_{index}").into_boxed_str())).collect());

#[test]
fn nesting_has_a_limit() {
    let mut tree = Tree::leaf(0);
    let error = loop {
        match Tree::mapping([("x", tree)]) {
            Ok(deeper) => tree = deeper,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("200 levels"));
}

#[test]
fn ties_join_places_and_their_partners() {
    let tree = model();
    let tied = tree.tie(&[group(&["a", "b"])]).unwrap();
    assert_eq!((tied.structure().slots(), tied.structure().places()), (4, 6));
    assert_eq!(tied.get("b.weight").unwrap().value(), Some(&0));
    let replaced = tied.replace(&[("b.weight", Tree::leaf(7))]).unwrap();
    assert_eq!(replaced.get("a.weight").unwrap().value(), Some(&7));
    assert_eq!(contents(&tied.untie().unwrap())[2], ("b.weight".into(), 0));
    assert!(Arc::ptr_eq(tied.untie().unwrap().structure(), tree.structure()));
    // b.weight brings a.weight along.
    let more = tied.tie(&[group(&["carry.0", "b.weight"])]).unwrap();
    assert_eq!(contents(&more).iter().filter(|(_, leaf)| *leaf == 20).count(), 3);
    // A tie inside a part stays with the part.
    let within = tree.tie(&[group(&["a.weight", "a.bias"])]).unwrap().get("a").unwrap();
    assert!(within.structure().has_ties());
    for bad in [group(&["a", "a.weight"]), group(&["a", "a"]), group(&["a", "carry"]), group(&["a", "zzz"])] {
        assert!(tree.tie(&[bad]).is_err());
    }
}

#[test]
fn differing_structures_are_named() {
    let first = model();
    let other = Tree::mapping([("b", dense(1)), ("a", Tree::leaf(1)), ("c", Tree::leaf(2))]).unwrap();
    let mismatch = align(first.structure(), other.structure()).unwrap_err();
    assert_eq!(mismatch.to_string(), "missing carry; extra c; differing a (a tree and a leaf)");
    let reordered = Tree::mapping([("bias", Tree::leaf(1)), ("weight", Tree::leaf(2))]).unwrap();
    let sum = dense(10).zip_map(&reordered, |left, right| Ok(left + right)).unwrap();
    assert_eq!(contents(&sum), [("weight".into(), 12), ("bias".into(), 12)]);
}

#[test]
fn parting_and_merging() {
    let tree = model();
    let (biases, rest) = tree.partition(|path, _| path.ends_with("bias")).unwrap();
    assert_eq!(contents(&biases), [("a.bias".into(), 1), ("b.bias".into(), 11)]);
    assert_eq!(format!("{:?}", biases.structure()), "{a: {bias: *}, b: {bias: *}, carry: {}}");
    let whole = biases.merge(&rest, Some(tree.structure())).unwrap();
    assert_eq!(contents(&whole), contents(&tree));
    assert!(Arc::ptr_eq(whole.structure(), tree.structure()));
    assert!(tree.partition(|path, _| path == "carry.0").is_err());
    assert!(tree.merge(&dense(0), None).is_ok());
    assert!(tree.merge(&tree, None).is_err());
    let tied = tree.tie(&[group(&["a.bias", "b.bias"])]).unwrap();
    assert!(tied.partition(|path, _| path == "a.bias").is_err());
    let (biases, rest) = tied.partition(|path, _| path.ends_with("bias")).unwrap();
    assert_eq!(biases.structure().slots(), 1);
    assert!(Arc::ptr_eq(biases.merge(&rest, Some(tied.structure())).unwrap().structure(), tied.structure()));
}

#[test]
fn replacing_a_part_by_another_shape() {
    let tied = model().tie(&[group(&["a", "b"])]).unwrap();
    let replaced = tied.replace(&[("b", Tree::leaf(5)), ("carry.1", dense(30))]).unwrap();
    assert_eq!(
        contents(&replaced).into_iter().map(|(path, _)| path).collect::<Vec<_>>(),
        ["a.weight", "a.bias", "b", "carry.0", "carry.1.weight", "carry.1.bias"]
    );
    assert!(!replaced.structure().has_ties());
    assert!(tied.replace(&[("nowhere", Tree::leaf(5))]).is_err());
}

/// Random nests of up to three levels.
fn drafts() -> impl Strategy<Value = Draft> {
    let leaf = (0u32..6).prop_map(Draft::Leaf);
    leaf.prop_recursive(3, 24, 4, |inner| {
        (prop::collection::vec(inner, 0..4), any::<bool>()).prop_map(|(children, mapping)| {
            let names = (0..children.len()).map(|index| format!("n{index}"));
            Draft::Node {
                kind: if mapping { Kind::Mapping } else { Kind::Sequence },
                tag: 0,
                names: if mapping { names.collect() } else { Vec::new() },
                children,
            }
        })
    })
}

proptest! {
    #[test]
    fn building_keeps_every_place(draft in drafts()) {
        let (structure, identities) = Structure::build(&draft).unwrap();
        let tree = Tree::new(Arc::clone(&structure), identities.clone()).unwrap();
        // Rebuilding from its own places gives the same structure and leaves.
        let places: Vec<u32> = tree.places().map(|(_, &leaf)| leaf).collect();
        let (again, order) = Structure::build(&structure.draft(&mut places.into_iter())).unwrap();
        prop_assert!(Arc::ptr_eq(&structure, &again));
        prop_assert_eq!(&order, &identities);
        // Every place is found by its path, from the root and from any part.
        for (path, leaf) in tree.places() {
            prop_assert_eq!(tree.find(&path).unwrap().value().copied(), Some(*leaf));
            if let Some((head, tail)) = path.split_once('.') {
                prop_assert_eq!(tree.find(head).unwrap().find(tail).unwrap().value().copied(), Some(*leaf));
            }
        }
        let untied = tree.untie().unwrap();
        prop_assert!(!untied.structure().has_ties());
        prop_assert_eq!(align(&structure, untied.structure()).is_ok(), true);
    }
}

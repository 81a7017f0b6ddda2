//! Singular values and vectors of one matrix, by one-sided Jacobi rotations (Hestenes 1958).
//!
//! Pairs of columns are turned until all are orthogonal; their lengths are then the singular values. The method
//! is short and finds even the small values to high relative accuracy (Demmel and Veselić 1992); it is meant
//! for norms of small and middling matrices. A wide matrix is taken by its transpose. All is computed in f64 on
//! elements divided by the largest, so nothing overflows.

use crate::runtime::interrupt;

/// Sweeps after which the rotations stop; some ten suffice for any matrix.
const SWEEPS: usize = 60;

/// `a = u diag(values) v^T` with `k = min(rows, columns)` values, largest first.
#[derive(Debug)]
pub struct Decomposition {
    /// The singular values.
    pub values: Vec<f64>,
    /// Left vectors: `k` of length `rows`, one after the other.
    pub left: Vec<Vec<f64>>,
    /// Right vectors: `k` of length `columns`.
    pub right: Vec<Vec<f64>>,
}

/// Decomposes a row-major matrix; none when interrupted. All is NaN where an element is not finite.
pub fn decompose(elements: &[f64], rows: usize, columns: usize) -> Option<Decomposition> {
    let wide = rows < columns;
    let (long, short) = if wide { (columns, rows) } else { (rows, columns) };
    let scale = elements.iter().fold(0.0f64, |largest, element| largest.max(element.abs()));
    if elements.iter().any(|element| !element.is_finite()) {
        let vectors = |length: usize| vec![vec![f64::NAN; length]; short];
        return Some(Decomposition { values: vec![f64::NAN; short], left: vectors(rows), right: vectors(columns) });
    }
    let scale = if scale > 0.0 { scale } else { 1.0 };
    let at = |i: usize, j: usize| elements[if wide { j * columns + i } else { i * columns + j }] / scale;
    let mut turned: Vec<Vec<f64>> = (0..short).map(|j| (0..long).map(|i| at(i, j)).collect()).collect();
    let mut turns: Vec<Vec<f64>> = (0..short).map(|j| unit(short, j)).collect();
    rotate(&mut turned, &mut turns)?;

    let lengths: Vec<f64> = turned.iter().map(|column| dot(column, column).sqrt()).collect();
    let mut order: Vec<usize> = (0..short).collect();
    order.sort_by(|&a, &b| lengths[b].total_cmp(&lengths[a]));
    let negligible = lengths.iter().fold(0.0f64, |a, &b| a.max(b)) * f64::EPSILON * f64::EPSILON;
    let mut across: Vec<Vec<f64>> = Vec::with_capacity(short);
    for &column in &order {
        let length = lengths[column];
        across.push(if length > negligible {
            turned[column].iter().map(|element| element / length).collect()
        } else {
            orthogonal(&across, long)
        });
    }
    let along = order.iter().map(|&column| turns[column].clone()).collect();
    let values = order.iter().map(|&column| lengths[column] * scale).collect();
    let (left, right) = if wide { (along, across) } else { (across, along) };
    Some(Decomposition { values, left, right })
}

/// Turns pairs of columns, and the columns of `turns` with them, until all pairs are orthogonal.
fn rotate(columns: &mut [Vec<f64>], turns: &mut [Vec<f64>]) -> Option<()> {
    for _ in 0..SWEEPS {
        let mut settled = true;
        for p in 0..columns.len() {
            if interrupt::poll() {
                return None;
            }
            for q in p + 1..columns.len() {
                let (alpha, beta) = (dot(&columns[p], &columns[p]), dot(&columns[q], &columns[q]));
                let gamma = dot(&columns[p], &columns[q]);
                if gamma.abs() <= f64::EPSILON * (alpha * beta).sqrt() {
                    continue;
                }
                settled = false;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                for both in [&mut *columns, &mut *turns] {
                    let (first, second) = both.split_at_mut(q);
                    turn(&mut first[p], &mut second[0], cosine, cosine * tangent);
                }
            }
        }
        if settled {
            break;
        }
    }
    Some(())
}

fn turn(a: &mut [f64], b: &mut [f64], cosine: f64, sine: f64) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(length: usize, one: usize) -> Vec<f64> {
    (0..length).map(|index| f64::from(u8::from(index == one))).collect()
}

/// A unit vector orthogonal to others, of which there are fewer than its length.
fn orthogonal(others: &[Vec<f64>], length: usize) -> Vec<f64> {
    for axis in 0..length {
        let mut vector = unit(length, axis);
        // Twice, as the first pass loses digits where little is left.
        for _ in 0..2 {
            for other in others {
                let part = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(element, other)| *element -= part * other);
            }
        }
        let left = dot(&vector, &vector).sqrt();
        // Some axis keeps a share of at least 1 / length of its square.
        if left * left * 2.0 * length as f64 >= 1.0 {
            vector.iter_mut().for_each(|element| *element /= left);
            return vector;
        }
    }
    vec![0.0; length]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A matrix of the given rank at most: a sum of products of small whole numbers.
    fn of_rank(rows: usize, columns: usize, rank: usize, numbers: &[i8]) -> Vec<f64> {
        let mut numbers = numbers.iter().cycle().map(|&number| f64::from(number));
        let mut next = |count: usize| -> Vec<f64> { numbers.by_ref().take(count).collect() };
        let mut matrix = vec![0.0; rows * columns];
        for _ in 0..rank {
            let (a, b) = (next(rows), next(columns));
            for (index, element) in matrix.iter_mut().enumerate() {
                *element += a[index / columns] * b[index % columns];
            }
        }
        matrix
    }

    proptest! {
        #[test]
        fn factors_are_orthonormal_and_rebuild_the_matrix(
            rows in 1usize..7, columns in 1usize..7, rank in 0usize..7, scale in -300i32..300,
            numbers in prop::collection::vec(-4i8..5, 11),
        ) {
            let scale = 10f64.powi(scale);
            let matrix: Vec<f64> =
                of_rank(rows, columns, rank, &numbers).iter().map(|element| element * scale).collect();
            let found = decompose(&matrix, rows, columns).unwrap();
            let largest = matrix.iter().fold(f64::MIN_POSITIVE, |a, b| a.max(b.abs()));
            prop_assert!(found.values.windows(2).all(|pair| pair[0] >= pair[1] && pair[1] >= 0.0));
            for vectors in [&found.left, &found.right] {
                for (i, a) in vectors.iter().enumerate() {
                    for (j, b) in vectors.iter().enumerate() {
                        prop_assert!((dot(a, b) - f64::from(u8::from(i == j))).abs() < 1e-13);
                    }
                }
            }
            for (index, element) in matrix.iter().enumerate() {
                let (i, j) = (index / columns, index % columns);
                let rebuilt: f64 =
                    (0..rows.min(columns)).map(|k| found.values[k] * found.left[k][i] * found.right[k][j]).sum();
                prop_assert!((rebuilt - element).abs() < 1e-13 * largest);
            }
        }
    }

    #[test]
    fn edges() {
        let none = decompose(&[], 0, 3).unwrap();
        assert!(none.values.is_empty() && none.left.is_empty() && none.right.is_empty());
        let zero = decompose(&[0.0; 4], 2, 2).unwrap();
        assert_eq!(zero.values, [0.0, 0.0]);
        assert_eq!(zero.left, zero.right);
        assert!(decompose(&[1.0, f64::INFINITY], 1, 2).unwrap().values[0].is_nan());
    }
}

//! Tables and queries of a warehouse as DataFusion tables.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion_catalog::{Session, TableProvider};
use datafusion_common::stats::Precision;
use datafusion_common::{Result, Statistics, project_schema};
use datafusion_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion_physical_plan::ExecutionPlan;
use pyo3::prelude::*;

use crate::column::Column;
use crate::filter::{self, Rendered};
use crate::reading::RowCount;
use crate::remote::{Source, external};
use crate::scan::{Query, WarehouseScan};

/// A table or query with its columns as they were when it was made.
#[derive(Debug)]
pub(crate) struct WarehouseTable {
    source: Arc<Source>,
    schema: SchemaRef,
    columns: Vec<Column>,
    row_count: Arc<RowCount>,
}

impl WarehouseTable {
    /// Asks the warehouse for the columns.
    pub(crate) fn describe(py: Python<'_>, source: Source) -> PyResult<Self> {
        let (schema, columns) = source.describe(py)?;
        Ok(Self { source: Arc::new(source), schema, columns, row_count: Arc::default() })
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Renders the statement that a scan sends.
    fn select(&self, projection: Option<&Vec<usize>>, filters: &[Expr], limit: Option<usize>) -> Result<Query> {
        let schema = project_schema(&self.schema, projection)?;
        let selected: Vec<&Column> = match projection {
            Some(indices) => indices.iter().filter_map(|at| self.columns.get(*at)).collect(),
            None => self.columns.iter().collect(),
        };
        if let Some(column) = selected.iter().find(|column| !column.is_nameable()) {
            let message = format!("`{}` cannot be read: the warehouse replaces `${{...}}`, also in names", column.name);
            return Err(external(message));
        }
        let names: Vec<String> = selected.into_iter().map(Column::sql).collect();
        let counted = names.is_empty();
        // The rest, for which LIMIT has no number, is DataFusion's.
        let limit = limit.filter(|limit| i32::try_from(*limit).is_ok());
        let mut behind = format!("FROM {}", self.source.from);
        for (position, filter) in filters.iter().enumerate() {
            // Only those come here for which `supports_filters_pushdown` has promised it.
            let rendered = filter::render(filter, &self.columns)
                .ok_or_else(|| external(format!("a filter cannot be sent to the warehouse: {filter}")))?;
            behind += if position == 0 { " WHERE " } else { " AND " };
            behind += &rendered.sql;
        }
        if let Some(limit) = limit {
            behind += " LIMIT ";
            behind += &limit.to_string();
        }
        let sql = match (counted, limit) {
            (false, _) => format!("SELECT {} {behind}", names.join(", ")),
            (true, None) => format!("SELECT count(*) {behind}"),
            (true, Some(_)) => format!("SELECT count(*) FROM (SELECT 1 {behind})"),
        };
        Ok(Query {
            source: Arc::clone(&self.source),
            sql,
            schema,
            counted,
            limit,
            filtered: !filters.is_empty(),
            row_count: Arc::clone(&self.row_count),
        })
    }
}

#[async_trait]
impl TableProvider for WarehouseTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let rendered: Vec<Option<Rendered>> =
            filters.iter().map(|filter| filter::render(filter, &self.columns)).collect();
        if !filter::are_simple(rendered.iter().flatten()) {
            // None of them: DataFusion asks again for those that are left, and would send them as well.
            return Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()]);
        }
        let support = rendered.iter().map(|rendered| match rendered {
            Some(rendered) if rendered.exact => TableProviderFilterPushDown::Exact,
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        });
        Ok(support.collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(self.row_count.get()?);
        Some(statistics)
    }

    /// Sends nothing: EXPLAIN must not run the query.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let query = self.select(projection, filters, limit)?;
        let one_is_enough = query.counted || limit.is_some();
        let partitions = if one_is_enough { 1 } else { session.config().target_partitions().max(1) };
        Ok(Arc::new(WarehouseScan::new(query, partitions)))
    }
}

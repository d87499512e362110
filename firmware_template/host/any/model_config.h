/* Stands in for the generated file where host objects are shared by models: everything else comes from the tables. */
#define MODEL_MAX_ROWS 1024
#define MODEL_PULLED 0

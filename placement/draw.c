/* A drawing of a plan in the manner of lstopo: host boxes, the guest's nodes in them, the expected traffic as arrows.
 */
#include "placement/internal.h"

#ifndef HAVE_CAIRO

bool plan_draw(const struct host_shape *host, const struct guest_shape *guest, const struct plan *plan, bool png,
               FILE *out, struct error *err)
{
    return error_set(err,
                     "this weft was built without cairo and cannot draw; install libcairo2-dev and build again, or "
                     "use --format text");
}

#else

#include <cairo.h>
#include <cairo-svg.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 24, PU_W = 46, PU_H = 40, GAP = 8, NODE_GAP = 112, HEAD = 92, MEM_H = 26, ROW_PUS = 8 };

struct box {
    double x, y, w, h, mem_y;
};

struct drawing {
    cairo_t *cr;
    const struct host_shape *host;
    const struct guest_shape *guest;
    const struct plan *plan;
    struct box node[PLACE_MAX_HOST_NODES];
    unsigned columns;
    double width, height;
};

/* Colours of guest nodes: light, far apart in hue, readable under black text. */
static void guest_colour(cairo_t *cr, unsigned g)
{
    double hue = fmod(0.07 + g * 0.381966, 1.0) * 6, c = 0.42, x = c * (1 - fabs(fmod(hue, 2) - 1)), m = 0.55;
    double r[6] = {c, x, 0, 0, x, c}, gr[6] = {x, c, c, x, 0, 0}, b[6] = {0, 0, x, c, c, x};
    cairo_set_source_rgb(cr, m + r[(int)hue], m + gr[(int)hue], m + b[(int)hue]);
}

static void text_at(cairo_t *cr, double x, double y, double size, const char *text)
{
    cairo_set_font_size(cr, size);
    cairo_move_to(cr, x, y);
    cairo_show_text(cr, text);
}

static void rectangle(cairo_t *cr, double x, double y, double w, double h)
{
    cairo_rectangle(cr, x, y, w, h);
    cairo_fill_preserve(cr);
    cairo_set_source_rgb(cr, 0.25, 0.25, 0.25);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);
}

static bool memory_here(const struct plan *plan, unsigned g, unsigned x)
{
    return plan->node[g].policy == PMEM_DEFAULT ? plan->node[g].mem_node == (int)x
                                                : bitmap_test(&plan->node[g].host_nodes, x);
}

static unsigned memories_on(const struct drawing *d, unsigned x)
{
    unsigned n = 0;
    for (unsigned g = 0; g < d->plan->num_nodes; g++) {
        n += d->guest->node[g].mem > 0 && memory_here(d->plan, g, x);
    }
    return n;
}

static void lay_out(struct drawing *d)
{
    unsigned n = d->host->num_nodes, most_pus = 1;
    d->columns = n <= 3 ? n : n > 4 && n <= 8 ? 4 : (unsigned)ceil(sqrt((double)n));
    for (unsigned x = 0; x < n; x++) {
        most_pus = d->host->node[x].num_pus > most_pus ? d->host->node[x].num_pus : most_pus;
    }
    unsigned per_row = most_pus < ROW_PUS ? (most_pus < 4 ? 4 : most_pus) : ROW_PUS;
    double w = per_row * (PU_W + 4) + 2 * GAP, y = MARGIN + HEAD;
    for (unsigned first = 0; first < n; first += d->columns) {
        double tallest = 0;
        for (unsigned x = first; x < n && x < first + d->columns; x++) {
            unsigned rows = (d->host->node[x].num_pus + per_row - 1) / per_row, mems = memories_on(d, x);
            double pus_h = rows * (PU_H + 4);
            struct box *b = &d->node[x];
            *b = (struct box){MARGIN + (x - first) * (w + NODE_GAP), y, w,
                              40 + pus_h + GAP + (mems > 0 ? mems : 1) * (MEM_H + 4) + GAP, 0};
            b->mem_y = y + 40 + pus_h + GAP;
            tallest = b->h > tallest ? b->h : tallest;
        }
        y += tallest + NODE_GAP;
    }
    d->width = 2 * MARGIN + d->columns * (w + NODE_GAP) - NODE_GAP;
    d->width = d->width < 640 ? 640 : d->width;
    d->height = y - NODE_GAP + MARGIN + 20.0 * (1 + d->plan->num_notes);
}

/* The vCPUs whose thread may use only this PU, or the PUs of its core. */
static void pu_draw(struct drawing *d, const struct host_pu *pu, double x, double y)
{
    char label[64], vcpus[64] = "";
    int colour = -1;
    unsigned n = 0;
    for (unsigned i = 0; i < d->plan->num_threads; i++) {
        const struct plan_thread *t = &d->plan->thread[i];
        if (t->kind != PLACE_VCPU || !t->bound || t->host_node < 0 || d->plan->grain == GRAIN_NODE ||
            d->host->node[t->host_node].host != d->host->node[pu->node].host || !bitmap_test(&t->pus, pu->os_index)) {
            continue;
        }
        size_t len = strlen(vcpus);
        if (n++ < 2) {
            snprintf(vcpus + len, sizeof(vcpus) - len, "%s%u", n > 1 ? "," : "v", t->index);
        } else if (n == 3) {
            snprintf(vcpus + len, sizeof(vcpus) - len, "..");
        }
        colour = t->guest_node;
    }
    if (colour >= 0) {
        guest_colour(d->cr, (unsigned)colour);
    } else {
        cairo_set_source_rgb(d->cr, 1, 1, 1);
    }
    rectangle(d->cr, x, y, PU_W, PU_H);
    cairo_set_source_rgb(d->cr, 0, 0, 0);
    snprintf(label, sizeof(label), "P#%u", pu->os_index);
    text_at(d->cr, x + 4, y + 14, 10, label);
    text_at(d->cr, x + 4, y + 32, 13, vcpus);
}

static void node_draw(struct drawing *d, unsigned x)
{
    const struct host_node *n = &d->host->node[x];
    const struct box *b = &d->node[x];
    char label[128], size[32], host[72] = "";
    if (d->host->num_hosts > 1) {
        snprintf(host, sizeof(host), "%s ", d->host->host[n->host].name);
    }
    cairo_set_source_rgb(d->cr, 0.93, 0.93, 0.90);
    rectangle(d->cr, b->x, b->y, b->w, b->h);
    cairo_set_source_rgb(d->cr, 0, 0, 0);
    snprintf(label, sizeof(label), "%sNUMANode L#%u P#%u  %s%s%s", host, x, n->os_index,
             n->capacity > 0 ? size_text(n->capacity, size, sizeof(size)) : "no memory", n->kind[0] ? "  " : "",
             n->kind);
    text_at(d->cr, b->x + GAP, b->y + 16, 12, label);
    char vcpus[96] = "";
    for (unsigned g = 0; g < d->plan->num_nodes; g++) {
        char list[64];
        size_t len = strlen(vcpus);
        if (d->plan->node[g].cpu_node == (int)x && d->guest->node[g].num_cpus > 0) {
            snprintf(vcpus + len, sizeof(vcpus) - len, "%sguest node %u: vCPUs %s", len > 0 ? "; " : "", g,
                     bitmap_format(&d->guest->node[g].cpus, list, sizeof(list)));
        }
    }
    text_at(d->cr, b->x + GAP, b->y + 32, 11, n->num_pus > 0 ? vcpus : "no CPUs");
    unsigned k = 0, per_row = (unsigned)((b->w - 2 * GAP) / (PU_W + 4));
    for (unsigned i = 0; i < d->host->num_pus; i++) {
        if (d->host->pu[i].node == x) {
            pu_draw(d, &d->host->pu[i], b->x + GAP + (k % per_row) * (PU_W + 4),
                    b->y + 40 + (double)(k / per_row) * (PU_H + 4));
            k++;
        }
    }
    double y = b->mem_y;
    for (unsigned g = 0; g < d->plan->num_nodes; g++) {
        if (d->guest->node[g].mem == 0 || !memory_here(d->plan, g, x)) {
            continue;
        }
        guest_colour(d->cr, g);
        rectangle(d->cr, b->x + GAP, y, b->w - 2 * GAP, MEM_H);
        cairo_set_source_rgb(d->cr, 0, 0, 0);
        snprintf(label, sizeof(label), "guest node %u: %s, %s%s", g,
                 size_text(d->guest->node[g].mem, size, sizeof(size)), place_mem_policy_name(d->plan->node[g].policy),
                 d->plan->node[g].overcommitted ? " (overcommitted)" : "");
        text_at(d->cr, b->x + GAP + 6, y + 17, 11, label);
        y += MEM_H + 4;
    }
}

/* Where the line from the centre of a box to (x, y) leaves the box. */
static void leave_box(const struct box *b, double x, double y, double *ox, double *oy)
{
    double cx = b->x + b->w / 2, cy = b->y + b->h / 2, dx = x - cx, dy = y - cy;
    double sx = dx != 0 ? b->w / 2 / fabs(dx) : INFINITY, sy = dy != 0 ? b->h / 2 / fabs(dy) : INFINITY;
    double s = sx < sy ? sx : sy;
    *ox = cx + dx * s;
    *oy = cy + dy * s;
}

static void arrow_label(struct drawing *d, double x, double y, double share, double cost)
{
    char label[64];
    cairo_text_extents_t e;
    snprintf(label, sizeof(label), "%.1f %% at %.0f", share * 100, cost);
    cairo_set_font_size(d->cr, 10);
    cairo_text_extents(d->cr, label, &e);
    x -= e.width / 2;
    cairo_set_source_rgba(d->cr, 1, 1, 1, 0.85);
    cairo_rectangle(d->cr, x - 2, y - 9, e.width + 4, 12);
    cairo_fill(d->cr);
    cairo_set_source_rgb(d->cr, 0.5, 0.1, 0.05);
    text_at(d->cr, x, y, 10, label);
}

/* The tip at (x, y), coming along the unit vector (ux, uy). */
static void arrow_tip(struct drawing *d, double x, double y, double ux, double uy)
{
    cairo_move_to(d->cr, x, y);
    cairo_line_to(d->cr, x - ux * 12 - uy * 6, y - uy * 12 + ux * 6);
    cairo_line_to(d->cr, x - ux * 12 + uy * 6, y - uy * 12 - ux * 6);
    cairo_close_path(d->cr);
    cairo_fill(d->cr);
}

/* Between boxes of one row or column with others between them: over the row, or beside the column. */
static void arc_draw(struct drawing *d, const struct box *a, const struct box *b, double share, double cost)
{
    bool row = a->y == b->y, forward = row ? b->x > a->x : b->y > a->y;
    double shift = forward ? -14 : 14, bend = forward ? 44 : 30;
    double ax = row ? a->x + a->w / 2 + shift : a->x + a->w, ay = row ? a->y : a->y + a->h / 2 + shift;
    double bx = row ? b->x + b->w / 2 + shift : b->x + b->w, by = row ? b->y : b->y + b->h / 2 + shift;
    double cx = row ? 0 : bend, cy = row ? -bend : 0;
    cairo_move_to(d->cr, ax, ay);
    cairo_curve_to(d->cr, ax + cx, ay + cy, bx + cx, by + cy, bx + cx / 4, by + cy / 4);
    cairo_stroke(d->cr);
    arrow_tip(d, bx, by, row ? 0 : -1, row ? 1 : 0);
    arrow_label(d, (ax + bx) / 2 + cx * 0.75, (ay + by) / 2 + cy * 0.75, share, cost);
}

static bool between(const struct drawing *d, unsigned from, unsigned to)
{
    unsigned c = d->columns, fr = from / c, fc = from % c, tr = to / c, tc = to % c;
    return (fr == tr && (fc > tc ? fc - tc : tc - fc) > 1) || (fc == tc && (fr > tr ? fr - tr : tr - fr) > 1);
}

static void arrow_draw(struct drawing *d, unsigned from, unsigned to, double share, double cost)
{
    const struct box *a = &d->node[from], *b = &d->node[to];
    double ax, ay, bx, by, width = 1 + 40 * share;
    cairo_set_source_rgba(d->cr, 0.75, 0.15, 0.1, 0.75);
    cairo_set_line_width(d->cr, width > 9 ? 9 : width);
    if (between(d, from, to)) {
        arc_draw(d, a, b, share, cost);
        return;
    }
    leave_box(a, b->x + b->w / 2, b->y + b->h / 2, &ax, &ay);
    leave_box(b, a->x + a->w / 2, a->y + a->h / 2, &bx, &by);
    double len = hypot(bx - ax, by - ay), ux = (bx - ax) / len, uy = (by - ay) / len, off = 5;
    ax -= uy * off, bx -= uy * off, ay += ux * off, by += ux * off; /* the two directions side by side */
    cairo_move_to(d->cr, ax, ay);
    cairo_line_to(d->cr, bx - ux * 8, by - uy * 8);
    cairo_stroke(d->cr);
    arrow_tip(d, bx, by, ux, uy);
    /* A third of the way, so that crossing diagonals do not write over each other. */
    bool level = fabs(uy) < 0.01;
    double at = level ? 0.5 : 0.3;
    arrow_label(d, ax + (bx - ax) * at, ay + (by - ay) * at + (level ? (ux > 0 ? 16 : -6) : 0), share, cost);
}

/* flow[from * nodes + to]: shares of all accesses that leave a host node. */
static void flows_make(const struct drawing *d, double *flow)
{
    for (unsigned i = 0; i < d->plan->num_nodes; i++) {
        for (unsigned j = 0; j < d->plan->num_nodes; j++) {
            int c = d->plan->node[i].cpu_node;
            unsigned parts = bitmap_count(&d->plan->node[j].host_nodes);
            bitmap_for_each(m, &d->plan->node[j].host_nodes)
            {
                if (c >= 0 && c != m) {
                    flow[(unsigned)c * d->host->num_nodes + (unsigned)m] += d->guest->traffic[i][j] / parts;
                }
            }
        }
    }
}

/*
 * Up to four nodes every flow that counts is drawn. With more, only those that stand out: the rest would be a net over
 * the whole picture. Where none stands out, a line of text says so.
 */
static void arrows_draw(struct drawing *d)
{
    unsigned h = d->host->num_nodes, n = 0;
    double *flow = calloc((size_t)h * h, sizeof(double)), largest = 0, sum = 0;
    flows_make(d, flow);
    for (unsigned f = 0; f < h * h; f++) {
        largest = flow[f] > largest ? flow[f] : largest;
        sum += flow[f];
        n += flow[f] > 0;
    }
    double least = h <= 4 ? largest / 10 : sum / (n > 0 ? n : 1) * 1.3;
    bool even = h > 4 && largest <= least;
    for (unsigned a = 0; a < h && !even; a++) {
        for (unsigned b = 0; b < h; b++) {
            if (flow[a * h + b] > least) {
                arrow_draw(d, a, b, flow[a * h + b], host_cost(d->host, a, b));
            }
        }
    }
    char line[160] = "";
    if (even) {
        snprintf(line, sizeof(line), "no arrows: the %.1f %% remote accesses are spread evenly over all pairs of nodes",
                 sum * 100);
    } else if (h > 4) {
        snprintf(line, sizeof(line),
                 "arrows: flows above 1.3 times the mean of all; remote accesses are %.1f %% in all", sum * 100);
    }
    cairo_set_source_rgb(d->cr, 0, 0, 0);
    text_at(d->cr, MARGIN, MARGIN + 53, 11, line);
    free(flow);
}

static cairo_status_t stream_write(void *arg, const unsigned char *data, unsigned len)
{
    return fwrite(data, 1, len, arg) == len ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static void drawing_draw(struct drawing *d)
{
    char line[320];
    cairo_set_source_rgb(d->cr, 1, 1, 1);
    cairo_paint(d->cr);
    cairo_select_font_face(d->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_source_rgb(d->cr, 0, 0, 0);
    snprintf(line, sizeof(line), "%s on %s", place_policy_name(d->plan->policy), d->host->host[0].name);
    text_at(d->cr, MARGIN, MARGIN + 14, 18, line);
    snprintf(line, sizeof(line),
             "mean cost of an access %.2f (10 = local)%s; arrows: share of all accesses, at their cost", d->plan->cost,
             d->plan->policy == PLACE_MATCH ? d->plan->exact ? ", optimal" : ", heuristic" : "");
    text_at(d->cr, MARGIN, MARGIN + 36, 12, line);
    bool few = d->host->num_nodes <= 4;
    if (!few) {
        arrows_draw(d); /* behind the boxes */
    }
    for (unsigned x = 0; x < d->host->num_nodes; x++) {
        node_draw(d, x);
    }
    if (few) {
        arrows_draw(d);
    }
    cairo_set_source_rgb(d->cr, 0.2, 0.2, 0.2);
    for (unsigned i = 0; i < d->plan->num_notes; i++) {
        text_at(d->cr, MARGIN, d->height - MARGIN - 18.0 * (d->plan->num_notes - 1 - i), 11, d->plan->note[i]);
    }
}

bool plan_draw(const struct host_shape *host, const struct guest_shape *guest, const struct plan *plan, bool png,
               FILE *out, struct error *err)
{
    struct drawing *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return error_set(err, "out of memory while drawing the plan");
    }
    d->host = host;
    d->guest = guest;
    d->plan = plan;
    lay_out(d);
    cairo_surface_t *surface =
        png ? cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(d->width), (int)ceil(d->height))
            : cairo_svg_surface_create_for_stream(stream_write, out, d->width, d->height);
    d->cr = cairo_create(surface);
    drawing_draw(d);
    cairo_status_t status = cairo_status(d->cr);
    if (png && status == CAIRO_STATUS_SUCCESS) {
        status = cairo_surface_write_to_png_stream(surface, stream_write, out);
    }
    cairo_destroy(d->cr);
    cairo_surface_finish(surface);
    status = status == CAIRO_STATUS_SUCCESS ? cairo_surface_status(surface) : status;
    cairo_surface_destroy(surface);
    free(d);
    return status == CAIRO_STATUS_SUCCESS ||
           error_set(err, "the drawing could not be written: %s", cairo_status_to_string(status));
}

#endif
